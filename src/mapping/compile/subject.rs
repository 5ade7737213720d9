//! Subjects: which formats there are, and what may be inside of what.

use super::{Compiler, Place};
use crate::mapping::spec::{SubjectSpec, ValueSpec};
use crate::mapping::subject::{Pair, Single, SubjectExpr};

impl Compiler<'_> {
    /// A subject; only the outermost may be aliases or complex.
    pub(super) fn subject(
        &mut self,
        spec: &SubjectSpec,
        place: &Place,
        outermost: bool,
    ) -> Option<SubjectExpr> {
        let mut single = |format, value, name: &str| {
            Some(SubjectExpr::Single(
                format,
                self.value(value, &place.at(name))?,
            ))
        };
        match spec {
            SubjectSpec::Account(value) => single(Single::Account, value, "account"),
            SubjectSpec::Did(value) => single(Single::Did, value, "did"),
            SubjectSpec::Email(value) => single(Single::Email, value, "email"),
            SubjectSpec::Opaque(value) => single(Single::Opaque, value, "opaque"),
            SubjectSpec::PhoneNumber(value) => single(Single::PhoneNumber, value, "phone_number"),
            SubjectSpec::Uri(value) => single(Single::Uri, value, "uri"),
            SubjectSpec::IssSub { iss, sub } => self.pair(
                Pair::IssSub,
                ("iss", iss),
                ("sub", sub),
                &place.at("iss_sub"),
            ),
            SubjectSpec::JwtId { iss, jti } => {
                self.pair(Pair::JwtId, ("iss", iss), ("jti", jti), &place.at("jwt_id"))
            }
            SubjectSpec::SamlAssertionId {
                issuer,
                assertion_id,
            } => {
                let place = place.at("saml_assertion_id");
                self.pair(
                    Pair::SamlAssertionId,
                    ("issuer", issuer),
                    ("assertion_id", assertion_id),
                    &place,
                )
            }
            SubjectSpec::IpAddresses(value) => Some(SubjectExpr::IpAddresses(
                self.value(value, &place.at("ip-addresses"))?,
            )),
            SubjectSpec::Object(value) => {
                Some(SubjectExpr::Object(self.value(value, &place.at("object"))?))
            }
            SubjectSpec::Aliases(_) | SubjectSpec::Complex(_) if !outermost => self.nothing(
                place,
                "aliases and complex subjects do not nest",
                "use a simple format",
            ),
            SubjectSpec::Aliases(specs) => {
                let place = place.at("aliases");
                if specs.is_empty() {
                    return self.nothing(&place, "the list is empty", "add at least one subject");
                }
                let parts = specs.iter().enumerate();
                let parts =
                    parts.filter_map(|(index, spec)| self.subject(spec, &place.at(index), false));
                Some(SubjectExpr::Aliases(parts.collect()))
            }
            SubjectSpec::FirstOf(specs) => {
                let place = place.at("first_of");
                if specs.is_empty() {
                    return self.nothing(&place, "the list is empty", "add at least one subject");
                }
                let parts = specs.iter().enumerate();
                let parts = parts
                    .filter_map(|(index, spec)| self.subject(spec, &place.at(index), outermost));
                Some(SubjectExpr::FirstOf(parts.collect()))
            }
            SubjectSpec::Complex(members) => {
                let place = place.at("complex");
                if members.is_empty() {
                    return self.nothing(&place, "there is no member", "add e.g. `user`");
                }
                let parts = members.iter().filter_map(|(member, spec)| {
                    Some((
                        *member,
                        self.subject(spec, &place.at(member.as_str()), false)?,
                    ))
                });
                Some(SubjectExpr::Complex(parts.collect()))
            }
        }
    }

    fn pair(
        &mut self,
        format: Pair,
        (first_name, first): (&str, &ValueSpec),
        (second_name, second): (&str, &ValueSpec),
        place: &Place,
    ) -> Option<SubjectExpr> {
        let first = self.value(first, &place.at(first_name));
        let second = self.value(second, &place.at(second_name));
        Some(SubjectExpr::Pair(format, first?, second?))
    }
}

/// Whether it can be an e-mail address or a phone number; what an object is shows only later.
pub(super) fn is_identifier(subject: &SubjectSpec) -> bool {
    match subject {
        SubjectSpec::Email(_) | SubjectSpec::PhoneNumber(_) | SubjectSpec::Object(_) => true,
        SubjectSpec::FirstOf(subjects) => subjects.iter().all(is_identifier),
        _ => false,
    }
}
