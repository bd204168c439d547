//! Keep the house tidy.
