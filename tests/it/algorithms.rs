//! Streams that sign by different algorithms from one ring, to receivers that are not Okta.

use std::fs;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

use crate::support::bridge::Bridge;
use crate::support::broker::brokers;
use crate::support::configuration::{Configuration, receiver, record, risk, user};
use crate::support::fresh;
use crate::support::hostile::{Answer, Hostile};

const EC: &str = include_str!("../fixtures/keys/ec-p256.pkcs8.pem");
const ED: &str = include_str!("../fixtures/keys/ed25519.pkcs8.pem");
const RECORDS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_stream_signs_by_its_algorithm_and_the_served_jwks_verifies_all() {
    for broker in brokers() {
        let topic = fresh("detections");
        broker.create_source(&topic, 1, &["es", "ed"]).await;
        let org = receiver().await;
        let accept = Answer::Bytes(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_vec());
        let answers = vec![accept];
        let es = Hostile::start(answers.clone(), RECORDS * 2, org.address()).await;
        let ed = Hostile::start(answers, RECORDS * 2, org.address()).await;
        let configuration = Configuration::new(broker.wire());
        let folder = configuration.folder().to_owned();
        fs::write(folder.join("ec.pem"), EC).unwrap();
        fs::write(folder.join("ed.pem"), ED).unwrap();
        let keys = json!([{"file": "signing.pem"}, {"file": "ec.pem"}, {"file": "ed.pem"}]);
        let configuration = configuration
            .set("signing.keys", keys)
            .stream_to("es", &topic, &es.url())
            .stream_to("ed", &topic, &ed.url())
            .set("streams.0.profile", "ssf-1.0")
            .set("streams.0.signing", json!({"algorithm": "ES256"}))
            .set("streams.1.profile", "ssf-1.0")
            .set("streams.1.signing", json!({"algorithm": "EdDSA"}));
        let detections = (0..RECORDS).map(|n| record(&risk(&n.to_string(), &user(n), "high")));
        broker.wire().produce_all(&topic, detections).await;
        let mut bridge = Bridge::start(&configuration).await;
        let jwks: JwkSet = serde_json::from_str(&bridge.fetch(&bridge.jwks_url()).await).unwrap();
        assert_eq!(jwks.keys.len(), 3);
        for (stream, receiver, alg) in [("es", &es, "ES256"), ("ed", &ed, "EdDSA")] {
            bridge.outcomes(stream, "delivered", RECORDS as u64).await;
            let tokens = receiver.bodies();
            assert_eq!(tokens.len(), RECORDS, "{stream}");
            for token in tokens {
                let header = decode_header(&token).unwrap();
                assert_eq!(format!("{:?}", header.alg), alg);
                let key = jwks.find(&header.kid.unwrap()).expect("published");
                let mut rules = Validation::new(header.alg);
                rules.required_spec_claims.clear();
                rules.validate_aud = false;
                let key = DecodingKey::from_jwk(key).unwrap();
                decode::<Value>(&token, &key, &rules).expect("a good signature");
            }
        }
        bridge.drain().await;
    }
}
