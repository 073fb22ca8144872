"""From fields and label maps to meshes, and what is done to meshes afterwards.

marching: isosurface of a field. dual_contouring: isosurface with sharp features, from a field and its gradient.
label_surfaces: the joint surface of a label map. dual_cells: the topology under the last two; cells: numbering.
cleaning: repairs, decimation, smoothing. facts: what is true about a mesh. closest: exact closest points on a mesh.
topology, intersections: edges, fans and parts; faces that pass through each other.
"""
