//! The Security Event Token itself (SET, RFC 8417): who it is about, what happened, its name
//! (jti) and how it is written down.
//!
//! Everything that is wrong by the rules of the receiver (CONTRACTS §1.2) is refused while these
//! types are built, so that a token that exists can be signed. This module must never import
//! anything else of setbridge, read a clock or do I/O.

mod canonical;
mod event;
mod jti;
mod subject;
mod text;
mod timestamp;
mod token;
mod words;

pub use canonical::{CanonicalSubject, SubjectKey};
pub use event::{
    EventType, Field, FieldFault, FieldKind, FieldValue, FieldValues, IdentifierChanged,
    SecurityEvent, UserRiskChange,
};
pub use jti::{Jti, JtiParts, JtiPrefix};
pub use subject::{ComplexMember, ComplexSubject, NonEmpty, SimpleSubject, Subject};
pub use text::{
    AcctUri, DidUrl, EmailAddress, IpText, MAX_IDENTIFIER_BYTES, PhoneNumber, Text, TextFault,
    UriText,
};
pub use timestamp::Timestamp;
pub use token::{Profile, SecurityEventToken};
pub use words::{InitiatingEntity, Level, Reason, UnknownWord};
