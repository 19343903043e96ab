//! Fuzz targets for every parser of bytes from outside. They run on the stable toolchain:
//!
//! ```text
//! BOLERO_RANDOM_TEST_TIME_MS=60000 cargo test --release -p tipstaff-fuzz
//! ```
//!
//! The adversary is whoever writes the bytes: no input may panic, hang, or be read in two ways.
