//! Ends sessions of workers that lost their part.
