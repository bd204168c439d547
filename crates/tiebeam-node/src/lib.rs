//! Compose a configuration and one supervision tree into a running node.
