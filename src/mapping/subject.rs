//! Who the SETs of a detection are about.

use std::borrow::Cow;

use serde_json::Value;

use super::MAX_SETS;
use super::error::{Fault, MapReason};
use super::expr::{Expr, Scope, text_of};
use super::subject_object;
use crate::set::{
    AcctUri, ComplexMember, ComplexSubject, DidUrl, EmailAddress, IpText, NonEmpty, PhoneNumber,
    SimpleSubject, Subject, Text, UriText,
};

/// A compiled subject.
#[derive(Debug)]
pub(super) enum SubjectExpr {
    Single(Single, Expr),
    Pair(Pair, Expr, Expr),
    IpAddresses(Expr),
    Aliases(Vec<SubjectExpr>),
    Complex(Vec<(ComplexMember, SubjectExpr)>),
    Object(Expr),
    FirstOf(Vec<SubjectExpr>),
}

/// Formats with one member.
#[derive(Clone, Copy, Debug)]
pub(super) enum Single {
    Account,
    Did,
    Email,
    Opaque,
    PhoneNumber,
    Uri,
}

/// Formats with two members.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pair {
    IssSub,
    JwtId,
    SamlAssertionId,
}

/// Subjects that were found, each good or bad by itself.
type Found<T> = Vec<Result<T, Fault>>;

impl SubjectExpr {
    /// All subjects that the detection gives. An empty list means that there is nobody to report.
    ///
    /// # Errors
    /// When the values cannot be put together at all.
    pub(super) fn all(&self, scope: &Scope<'_>) -> Result<Found<Subject>, Fault> {
        let found = match self {
            SubjectExpr::Aliases(exprs) => aliases(exprs, scope)?,
            SubjectExpr::Complex(members) => complex(members, scope)?,
            SubjectExpr::Object(expr) => {
                let values = expr.all(scope)?;
                values
                    .iter()
                    .map(|value| subject_object::read(value, expr.origin()))
                    .collect()
            }
            SubjectExpr::FirstOf(exprs) => first_of(exprs, |expr| expr.all(scope))?,
            simple => simple
                .simple(scope)?
                .into_iter()
                .map(|subject| subject.map(Subject::from))
                .collect(),
        };
        if found.len() > MAX_SETS {
            return Err(Fault::new(
                MapReason::TooManySets,
                format!("more than {MAX_SETS} subjects"),
            ));
        }
        Ok(found)
    }

    fn simple(&self, scope: &Scope<'_>) -> Result<Found<SimpleSubject>, Fault> {
        match self {
            SubjectExpr::Single(format, expr) => {
                let values = expr.all(scope)?;
                Ok(values
                    .iter()
                    .map(|value| format.subject(value, expr.origin()))
                    .collect())
            }
            SubjectExpr::Pair(format, first, second) => pairs(*format, first, second, scope),
            SubjectExpr::IpAddresses(expr) => {
                let values = expr.all(scope)?;
                let parsed = values
                    .iter()
                    .map(|value| ip(value, expr.origin()))
                    .collect::<Result<Vec<_>, _>>();
                Ok(match parsed.map(NonEmpty::new) {
                    Ok(None) => Vec::new(),
                    Ok(Some(addresses)) => vec![Ok(SimpleSubject::IpAddresses(addresses))],
                    Err(fault) => vec![Err(fault)],
                })
            }
            SubjectExpr::Object(expr) => {
                let values = expr.all(scope)?;
                Ok(values
                    .iter()
                    .map(|value| subject_object::read_simple(value, expr.origin()))
                    .collect())
            }
            SubjectExpr::FirstOf(exprs) => first_of(exprs, |expr| expr.simple(scope)),
            SubjectExpr::Aliases(_) | SubjectExpr::Complex(_) => Err(Fault::new(
                MapReason::BadSubject,
                "aliases and complex subjects do not nest",
            )),
        }
    }
}

impl Single {
    fn subject(self, value: &Value, origin: &str) -> Result<SimpleSubject, Fault> {
        let text = identifier(value, origin)?;
        let subject = match self {
            Single::Account => AcctUri::parse(&text).map(SimpleSubject::Account),
            Single::Did => DidUrl::parse(&text).map(SimpleSubject::Did),
            Single::Email => EmailAddress::parse(&text).map(SimpleSubject::Email),
            Single::Opaque => Text::parse(&text).map(SimpleSubject::Opaque),
            Single::PhoneNumber => PhoneNumber::parse(&text).map(SimpleSubject::PhoneNumber),
            Single::Uri => UriText::parse(&text).map(SimpleSubject::Uri),
        };
        subject.map_err(|fault| Fault::of_text(fault, origin))
    }
}

impl Pair {
    fn subject(self, first: Text, second: Text) -> SimpleSubject {
        match self {
            Pair::IssSub => SimpleSubject::IssSub {
                iss: first,
                sub: second,
            },
            Pair::JwtId => SimpleSubject::JwtId {
                iss: first,
                jti: second,
            },
            Pair::SamlAssertionId => SimpleSubject::SamlAssertionId {
                issuer: first,
                assertion_id: second,
            },
        }
    }
}

/// Two members: one of them may have several values, which makes several subjects. If both had,
/// nothing would say which belong together.
fn pairs(
    format: Pair,
    first: &Expr,
    second: &Expr,
    scope: &Scope<'_>,
) -> Result<Found<SimpleSubject>, Fault> {
    let (firsts, seconds) = (first.all(scope)?, second.all(scope)?);
    if firsts.len() > 1 && seconds.len() > 1 {
        return Err(Fault::new(
            MapReason::BadSubject,
            "both members of the subject have several values: use `each`",
        ));
    }
    let text = |value: &Value, expr: &Expr| {
        Text::parse(&identifier(value, expr.origin())?)
            .map_err(|fault| Fault::of_text(fault, expr.origin()))
    };
    let mut found = Vec::with_capacity(firsts.len().max(seconds.len()));
    for a in &firsts {
        for b in &seconds {
            found.push(text(a, first).and_then(|a| Ok(format.subject(a, text(b, second)?))));
        }
    }
    Ok(found)
}

/// What the first expression that gives anything gives.
fn first_of<T>(
    exprs: &[SubjectExpr],
    mut all: impl FnMut(&SubjectExpr) -> Result<Found<T>, Fault>,
) -> Result<Found<T>, Fault> {
    for expr in exprs {
        let found = all(expr)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// All identifiers together are one subject; those that are missing are left out.
fn aliases(exprs: &[SubjectExpr], scope: &Scope<'_>) -> Result<Found<Subject>, Fault> {
    let mut identifiers = Vec::new();
    for expr in exprs {
        for subject in expr.simple(scope)? {
            match subject {
                Ok(subject) => identifiers.push(subject),
                Err(fault) => return Ok(vec![Err(fault)]),
            }
        }
    }
    Ok(NonEmpty::new(identifiers)
        .map(|all| Ok(Subject::Aliases(all)))
        .into_iter()
        .collect())
}

/// A complex subject needs all its members: without one of them it would mean more than it says
/// (a user instead of one session of that user). One member may have several values.
fn complex(
    members: &[(ComplexMember, SubjectExpr)],
    scope: &Scope<'_>,
) -> Result<Found<Subject>, Fault> {
    let mut lists = Vec::with_capacity(members.len());
    for (member, expr) in members {
        let list = expr.simple(scope)?;
        if list.is_empty() {
            return Ok(Vec::new());
        }
        lists.push((*member, list));
    }
    let count = lists.iter().map(|(_, list)| list.len()).max().unwrap_or(0);
    if lists.iter().filter(|(_, list)| list.len() > 1).count() > 1 {
        return Err(Fault::new(
            MapReason::BadSubject,
            "several members of the subject have several values: use `each`",
        ));
    }
    let at = |index: usize| {
        lists
            .iter()
            .map(|(member, list)| {
                let subject = list.get(index).or(list.first()).cloned();
                subject
                    .unwrap_or_else(|| Err(Fault::bad_value("no subject")))
                    .map(|subject| (*member, subject))
            })
            .collect::<Result<_, _>>()
            .map(|members| ComplexSubject::new(members).map(Subject::Complex))
    };
    Ok((0..count)
        .filter_map(|index| at(index).transpose())
        .collect())
}

pub(super) fn ip(value: &Value, origin: &str) -> Result<IpText, Fault> {
    IpText::parse(&identifier(value, origin)?).map_err(|fault| Fault::of_text(fault, origin))
}

/// Identifiers are texts; a number is an id that somebody forgot to quote.
fn identifier<'v>(value: &'v Value, origin: &str) -> Result<Cow<'v, str>, Fault> {
    match value {
        Value::String(_) | Value::Number(_) => text_of(value),
        _ => None,
    }
    .ok_or_else(|| Fault::wrong_type(origin, value, "a text").in_field(MapReason::BadSubject))
}
