//! Subjects that a detection carries as whole RFC 9493 objects: `{"format":"email","email":…}`.

use serde_json::{Map, Value};

use super::error::{Fault, MapReason};
use super::subject::ip;
use crate::set::{
    AcctUri, ComplexMember, ComplexSubject, DidUrl, EmailAddress, NonEmpty, PhoneNumber,
    SimpleSubject, Subject, Text, TextFault, UriText,
};

const MEMBERS: [ComplexMember; 7] = [
    ComplexMember::User,
    ComplexMember::Device,
    ComplexMember::Session,
    ComplexMember::Application,
    ComplexMember::Tenant,
    ComplexMember::OrgUnit,
    ComplexMember::Group,
];

/// Reads any subject. Members that the format does not have are ignored (RFC 9493 §3).
pub(super) fn read(value: &Value, origin: &str) -> Result<Subject, Fault> {
    let object = object(value, origin)?;
    match format(object) {
        Some("aliases") => {
            let Some(Value::Array(identifiers)) = object.get("identifiers") else {
                return Err(bad(origin, "has no list of `identifiers`"));
            };
            let all = identifiers
                .iter()
                .map(|one| read_simple(one, origin))
                .collect::<Result<Vec<_>, _>>()?;
            NonEmpty::new(all)
                .map(Subject::Aliases)
                .ok_or_else(|| bad(origin, "has no `identifiers`"))
        }
        Some("complex") => {
            let members = MEMBERS
                .into_iter()
                .filter_map(|member| Some((member, object.get(member.as_str())?)))
                .map(|(member, value)| Ok((member, read_simple(value, origin)?)))
                .collect::<Result<_, Fault>>()?;
            ComplexSubject::new(members)
                .map(Subject::Complex)
                .ok_or_else(|| bad(origin, "has no members"))
        }
        _ => read_simple(value, origin).map(Subject::from),
    }
}

/// Reads a simple subject.
pub(super) fn read_simple(value: &Value, origin: &str) -> Result<SimpleSubject, Fault> {
    let object = object(value, origin)?;
    let member = |name: &str| match object.get(name) {
        Some(Value::String(text)) => Ok(text.as_str()),
        _ => Err(bad(origin, "lacks a member of its format")),
    };
    let fault = |fault: TextFault| Fault::of_text(fault, origin);
    let text = |name: &str| Text::parse(member(name)?).map_err(fault);
    match format(object) {
        Some("account") => AcctUri::parse(member("uri")?)
            .map(SimpleSubject::Account)
            .map_err(fault),
        Some("email") => EmailAddress::parse(member("email")?)
            .map(SimpleSubject::Email)
            .map_err(fault),
        Some("iss_sub") => Ok(SimpleSubject::IssSub {
            iss: text("iss")?,
            sub: text("sub")?,
        }),
        Some("opaque") => text("id").map(SimpleSubject::Opaque),
        Some("phone_number") => PhoneNumber::parse(member("phone_number")?)
            .map(SimpleSubject::PhoneNumber)
            .map_err(fault),
        Some("did") => DidUrl::parse(member("url")?)
            .map(SimpleSubject::Did)
            .map_err(fault),
        Some("uri") => UriText::parse(member("uri")?)
            .map(SimpleSubject::Uri)
            .map_err(fault),
        Some("jwt_id") => Ok(SimpleSubject::JwtId {
            iss: text("iss")?,
            jti: text("jti")?,
        }),
        Some("saml_assertion_id") => Ok(SimpleSubject::SamlAssertionId {
            issuer: text("issuer")?,
            assertion_id: text("assertion_id")?,
        }),
        Some("ip-addresses") => {
            let Some(Value::Array(addresses)) = object.get("ip-addresses") else {
                return Err(bad(origin, "has no list of `ip-addresses`"));
            };
            let all = addresses
                .iter()
                .map(|one| ip(one, origin))
                .collect::<Result<Vec<_>, _>>()?;
            NonEmpty::new(all)
                .map(SimpleSubject::IpAddresses)
                .ok_or_else(|| bad(origin, "has no addresses"))
        }
        Some(_) => Err(bad(
            origin,
            "has a `format` that is unknown or does not fit here",
        )),
        None => Err(bad(origin, "has no `format`")),
    }
}

fn object<'v>(value: &'v Value, origin: &str) -> Result<&'v Map<String, Value>, Fault> {
    value.as_object().ok_or_else(|| {
        Fault::wrong_type(origin, value, "a subject object with a `format`")
            .in_field(MapReason::BadSubject)
    })
}

fn format(object: &Map<String, Value>) -> Option<&str> {
    object.get("format")?.as_str()
}

fn bad(origin: &str, what: &str) -> Fault {
    Fault::new(MapReason::BadSubject, format!("{origin} {what}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_read_back_as_they_are_written() {
        for subject in [
            json!({"format": "account", "uri": "acct:a@b.example"}),
            json!({"format": "email", "email": "a@b.example"}),
            json!({"format": "iss_sub", "iss": "https://i.example", "sub": "1"}),
            json!({"format": "opaque", "id": "1"}),
            json!({"format": "phone_number", "phone_number": "+12065550100"}),
            json!({"format": "did", "url": "did:example:1"}),
            json!({"format": "uri", "uri": "urn:a:b"}),
            json!({"format": "jwt_id", "iss": "i", "jti": "j"}),
            json!({"format": "saml_assertion_id", "issuer": "i", "assertion_id": "a"}),
            json!({"format": "ip-addresses", "ip-addresses": ["10.0.0.1"]}),
            json!({"format": "aliases", "identifiers": [{"format": "opaque", "id": "1"}]}),
            json!({"format": "complex", "user": {"format": "opaque", "id": "1"}, "tenant": {"format": "opaque", "id": "2"}}),
        ] {
            let read =
                read(&subject, "$.s").unwrap_or_else(|fault| panic!("{subject}: {}", fault.text));
            assert_eq!(serde_json::to_value(&read).expect("json"), subject);
        }
    }

    #[test]
    fn broken_objects_say_why() {
        for (subject, reason) in [
            (json!("a@b.example"), MapReason::BadSubject),
            (json!({"email": "a@b.example"}), MapReason::BadSubject),
            (
                json!({"format": "email", "email": "nobody"}),
                MapReason::BadEmail,
            ),
            (
                json!({"format": "email", "email": 3}),
                MapReason::BadSubject,
            ),
            (
                json!({"format": "iss_sub", "iss": "i"}),
                MapReason::BadSubject,
            ),
            (
                json!({"format": "phone", "phone": "+1"}),
                MapReason::BadSubject,
            ),
            (
                json!({"format": "aliases", "identifiers": []}),
                MapReason::BadSubject,
            ),
            (
                json!({"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": []}]}),
                MapReason::BadSubject,
            ),
            (json!({"format": "complex"}), MapReason::BadSubject),
            (
                json!({"format": "complex", "user": {"format": "complex"}}),
                MapReason::BadSubject,
            ),
            (
                json!({"format": "ip-addresses", "ip-addresses": ["1.2"]}),
                MapReason::BadSubject,
            ),
        ] {
            assert_eq!(
                read(&subject, "$.s").map_err(|fault| fault.reason),
                Err(reason),
                "{subject}"
            );
        }
    }
}
