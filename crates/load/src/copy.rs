//! The statements that bring a part's rows in.
