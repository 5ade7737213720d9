//! Every format as it is written, and spellings that must or must not share a key.

use proptest::prelude::*;

use super::*;

fn email(text: &str) -> SimpleSubject {
    SimpleSubject::Email(EmailAddress::parse(text).expect("an address"))
}

fn text(text: &str) -> Text {
    Text::parse(text).expect("not blank")
}

fn ips(addresses: &[&str]) -> SimpleSubject {
    let parsed = addresses
        .iter()
        .map(|ip| IpText::parse(ip).expect("an address"))
        .collect();
    SimpleSubject::IpAddresses(NonEmpty::new(parsed).expect("not empty"))
}

fn complex(members: &[(ComplexMember, SimpleSubject)]) -> Subject {
    let members = members.iter().cloned().collect();
    Subject::Complex(ComplexSubject::new(members).expect("not empty"))
}

/// One subject of each format, with its JSON (RFC 9493 §3.2, SSF §3.3 and §3.5).
fn all_formats() -> Vec<(Subject, &'static str)> {
    vec![
        (
            SimpleSubject::Account(AcctUri::parse("acct:ann@example.com").expect("uri")).into(),
            r#"{"format":"account","uri":"acct:ann@example.com"}"#,
        ),
        (
            email("Ann@example.com").into(),
            r#"{"format":"email","email":"Ann@example.com"}"#,
        ),
        (
            SimpleSubject::IssSub {
                iss: text("https://i.example/"),
                sub: text("145234573"),
            }
            .into(),
            r#"{"format":"iss_sub","iss":"https://i.example/","sub":"145234573"}"#,
        ),
        (
            SimpleSubject::Opaque(text("11112222")).into(),
            r#"{"format":"opaque","id":"11112222"}"#,
        ),
        (
            SimpleSubject::PhoneNumber(PhoneNumber::parse("+12065550100").expect("phone")).into(),
            r#"{"format":"phone_number","phone_number":"+12065550100"}"#,
        ),
        (
            SimpleSubject::Did(DidUrl::parse("did:example:123456").expect("did")).into(),
            r#"{"format":"did","url":"did:example:123456"}"#,
        ),
        (
            SimpleSubject::Uri(UriText::parse("urn:uuid:4e851e98").expect("uri")).into(),
            r#"{"format":"uri","uri":"urn:uuid:4e851e98"}"#,
        ),
        (
            SimpleSubject::JwtId {
                iss: text("https://i.example"),
                jti: text("B70BA622"),
            }
            .into(),
            r#"{"format":"jwt_id","iss":"https://i.example","jti":"B70BA622"}"#,
        ),
        (
            SimpleSubject::SamlAssertionId {
                issuer: text("https://i.example"),
                assertion_id: text("_8e8d"),
            }
            .into(),
            r#"{"format":"saml_assertion_id","issuer":"https://i.example","assertion_id":"_8e8d"}"#,
        ),
        (
            ips(&["10.29.37.75", "2001:db8::1"]).into(),
            r#"{"format":"ip-addresses","ip-addresses":["10.29.37.75","2001:db8::1"]}"#,
        ),
        (
            Subject::Aliases(
                NonEmpty::new(vec![email("a@b.example"), email("c@d.example")]).expect("two"),
            ),
            r#"{"format":"aliases","identifiers":[{"format":"email","email":"a@b.example"},{"format":"email","email":"c@d.example"}]}"#,
        ),
        (
            complex(&[
                (ComplexMember::Device, SimpleSubject::Opaque(text("d1"))),
                (ComplexMember::User, email("a@b.example")),
            ]),
            r#"{"format":"complex","user":{"format":"email","email":"a@b.example"},"device":{"format":"opaque","id":"d1"}}"#,
        ),
    ]
}

#[test]
fn every_format_is_written_as_its_document_says() {
    for (subject, json) in all_formats() {
        assert_eq!(serde_json::to_string(&subject).expect("json"), json);
    }
}

#[test]
fn every_format_has_a_key_of_its_own() {
    let mut keys: Vec<_> = all_formats()
        .iter()
        .map(|(s, _)| s.canonical().key())
        .collect();
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), all);
}

#[test]
fn canonical_forms_have_sorted_members() {
    for (subject, _) in all_formats() {
        let canonical = subject.canonical();
        let value: serde_json::Value = serde_json::from_str(canonical.as_str()).expect("json");
        let names: Vec<_> = value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(names, sorted);
    }
}

#[test]
fn spellings_of_one_subject_share_a_key() {
    let key = |s: Subject| s.canonical().key();
    assert_eq!(
        key(email(" ANN@Example.com ").into()),
        key(email("ann@example.COM").into())
    );
    assert_eq!(
        key(ips(&["2001:DB8:0::1", "10.0.0.1"]).into()),
        key(ips(&["10.0.0.1", "2001:db8::1"]).into())
    );
    assert_eq!(
        key(complex(&[(ComplexMember::User, email("a@b.c"))])),
        key(email("A@B.C").into())
    );
    let aliases = |list| Subject::Aliases(NonEmpty::new(list).expect("not empty"));
    assert_eq!(
        key(aliases(vec![email("a@b.c"), email("d@e.f")])),
        key(aliases(vec![
            email("D@E.F"),
            email("a@b.c"),
            email("A@b.c")
        ]))
    );
    assert_ne!(
        key(SimpleSubject::IssSub {
            iss: text("a"),
            sub: text("bc")
        }
        .into()),
        key(SimpleSubject::IssSub {
            iss: text("ab"),
            sub: text("c")
        }
        .into())
    );
}

#[test]
fn debug_output_of_the_canonical_form_hides_the_identifier() {
    let shown = format!("{:?}", Subject::from(email("ann@example.com")).canonical());
    assert!(!shown.contains("ann"));
}

proptest! {
    #[test]
    fn canonical_form_is_json_whatever_the_text(id in "\\PC{1,40}") {
        if let Ok(id) = Text::parse(&id) {
            let canonical = Subject::from(SimpleSubject::Opaque(id.clone())).canonical();
            let value: serde_json::Value = serde_json::from_str(canonical.as_str()).expect("json");
            prop_assert_eq!(value["id"].as_str(), Some(id.as_str()));
        }
    }

    #[test]
    fn different_ids_have_different_keys(a in "[a-z]{1,8}", b in "[a-z]{1,8}") {
        let key = |id: &str| Subject::from(SimpleSubject::Opaque(text(id))).canonical().key();
        prop_assert_eq!(key(&a) == key(&b), a == b);
    }
}
