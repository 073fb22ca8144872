"""From fields and label maps to meshes, and what is done to meshes afterwards.

marching: isosurface of a field. dual_contouring: isosurface with sharp features, from a field and its gradient.
label_surfaces: the joint surface of a label map. dual_cells: the lattice topology under the last two.
topology, cleaning, facts, intersections: edges and fans of a triangle mesh, repairs, and what is true about it.
"""
