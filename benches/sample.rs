//! The detection that the benches carry: about 860 bytes, in the manner of an OCSF Detection Finding, and the
//! mapping that makes a `user-risk-change` of it. Shared by `micro` and `whole_path`.

/// Different users; detections go round them.
const USERS: u64 = 5000;

/// Rules as an operator writes them: a condition, a lookup, a template, a key of three parts.
pub(crate) const MAPPING: &str = r#"{
  "rules": [
    {"name": "lab", "when": "detection.metadata.labels.environment == 'lab'", "drop": true},
    {
      "name": "user risk",
      "when": "detection.class_uid == 2004 && detection.severity_id >= 3",
      "event": "user-risk-change",
      "subject": {"email": "$.user.email_addr"},
      "id": ["$.finding_info.uid", "$.finding_info.modified_time", "$.severity_id"],
      "time": "$.time",
      "claims": {
        "current_level": {"lookup": {"of": "$.severity_id", "table": {"3": "low", "4": "medium", "5": "high", "6": "high"}}},
        "initiating_entity": "system",
        "reason_admin": "{$.finding_info.title} on {$.device.hostname}"
      }
    }
  ]
}"#;

/// Key (the subject, as the README asks of producers) and value of detection `number`, seen at `time_ms`.
pub(crate) fn detection(number: u64, time_ms: u64) -> (String, String) {
    let user = format!("user{:05}@corp.example.com", number % USERS);
    let severity = 3 + number / USERS % 3;
    let value = format!(
        r#"{{"metadata":{{"version":"1.3.0","product":{{"name":"Sentinel EDR","vendor_name":"Example Security","version":"7.14.2"}},"profiles":["host","security_control"],"labels":{{"environment":"production","region":"eu-central-1"}}}},"class_uid":2004,"category_uid":2,"activity_id":1,"type_uid":200401,"time":{time_ms},"severity_id":{severity},"severity":"High","status_id":1,"finding_info":{{"uid":"det-{number:010}","title":"Credential theft from LSASS memory","created_time":{time_ms},"modified_time":{time_ms},"analytic":{{"uid":"RULE-7731","name":"lsass_read","type_id":1}},"attacks":[{{"tactic":{{"uid":"TA0006","name":"Credential Access"}},"technique":{{"uid":"T1003.001","name":"LSASS Memory"}}}}]}},"user":{{"uid":"S-1-5-21-3623811015-{number:010}","email_addr":"{user}","type_id":1}},"device":{{"hostname":"wks-{:05}","os":{{"name":"Windows 11","type_id":100}},"ip":"10.20.30.40"}}}}"#,
        number % USERS,
    );
    (user, value)
}
