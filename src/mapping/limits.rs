//! What a mapping may cost: whoever may write to the topic chooses what it is applied to.
//!
//! A record is bounded before it gets here (`limits.max_record_bytes`, `limits.max_elements`). These bound what is made of
//! it, and what the operator can write down without noticing that it would end the process. docs/operations.md lists them.

/// Most SETs that are made of one detection: so many bytes and values a record of a MiB can hold that more is no detection.
pub const MAX_SETS: usize = 10_000;

/// Most bytes of text in all SETs of one detection: the default of `limits.max_unsettled_bytes`. With `each`, a text of the
/// detection is in every SET; a record of 1 MiB could ask for gigabytes.
pub const MAX_SETS_BYTES: usize = 16 << 20;

/// Longest text that is no identifier (a reason, a `txn`), in bytes: more than anybody reads, and a SET stays far below
/// the 1 MiB at which many HTTP servers answer 413.
pub const MAX_TEXT_BYTES: usize = 32 << 10;

/// Longest CEL expression, in bytes: 500 words to compare with still fit.
pub(super) const MAX_EXPRESSION_BYTES: usize = 16 << 10;

/// Most signs in an expression that can each nest it one level deeper. The parser has a bound for brackets, but `1+1+…`
/// and `a.b.c…` are as deep as they are long: 2,400 levels still compile on a stack of 2 MiB without optimisation, 4,800
/// do not.
pub(super) const MAX_EXPRESSION_SIGNS: usize = 2000;

/// Deepest nesting of an expression that is run. Evaluation takes up to 30 KB of stack for a level without optimisation,
/// and the runtime's threads have 2 MiB: 90 levels ended the process.
pub(super) const MAX_EXPRESSION_DEPTH: usize = 32;

/// Longest JSONPath, in bytes.
pub(super) const MAX_PATH_BYTES: usize = 4 << 10;

/// Deepest nesting of brackets in a JSONPath: 3,000 filters in one another overflow the parser's stack.
pub(super) const MAX_PATH_DEPTH: usize = 16;
