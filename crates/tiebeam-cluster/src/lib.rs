//! Join nodes: membership, requests and actors across nodes, names.
