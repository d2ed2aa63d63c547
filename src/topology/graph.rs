//! Drawings of a topology.
