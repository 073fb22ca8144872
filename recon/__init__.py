"""From input to scene: formats, methods, fields, surfaces, training, metrics."""
