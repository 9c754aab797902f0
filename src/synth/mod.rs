//! Procedural frames of a machined surface, with and without defects.
