//! Benchmarks of Millstream
