//! Every bound on what comes from outside, in one place: unit, default, reason.
//!
//! The adversary is an input that is merely large: without a bound, refusing it costs as much as
//! serving it.

/// Deepest nesting of arrays and objects that the strict parser accepts. Recursion stays shallow.
pub const JSON_DEPTH_MAX: usize = 64;
/// Largest integer magnitude in judged JSON: 2^53 − 1, the last that every JSON reader keeps exact.
pub const JSON_INTEGER_MAX: i64 = (1 << 53) - 1;
/// Most members and elements in one judged JSON text; bounds memory per byte of input.
pub const JSON_NODES_MAX: usize = 262_144;
/// Largest judged body in bytes (one agent frame): 4 MiB holds any sane file edit.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// Largest result frame of an upstream in bytes; larger ones become an error with the id kept.
pub const RESULT_BYTES_MAX: usize = 16 << 20;
/// Largest canonical receipt in bytes. A leaf must fit the 65,535-byte entries of `tlog-tiles`.
pub const RECEIPT_BYTES_MAX: usize = 32 << 10;
/// Longest name of a server, tool or operation in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// Largest policy file in bytes, and the sum over a policy folder.
pub const POLICY_BYTES_MAX: usize = 1 << 20;
/// Deepest bracket nesting in policy text: Cedar's parser overflows its stack at about 200.
pub const POLICY_DEPTH_MAX: usize = 32;
/// Most policies in one set.
pub const POLICIES_MAX: usize = 10_000;
