//! Apache Kafka: the broker of `KAFKA_BOOTSTRAP` when that is set, else one [`Node`] of our own for the whole test
//! binary.

use std::sync::OnceLock;

use super::node::{Distribution, Node};
use super::used::{Fact, write_down};
use super::wire::Wire;

/// A real Kafka.
pub(crate) struct Apache {
    plain: Wire,
    node: Option<Node>,
}

impl Apache {
    /// The one that all tests of this binary share, started at the first call. `None` when there is none here; that is
    /// written down, and with `SETBRIDGE_REQUIRE_KAFKA=1` it fails the test.
    pub(crate) fn shared() -> Option<&'static Apache> {
        static SHARED: OnceLock<Result<Option<Apache>, String>> = OnceLock::new();
        match SHARED.get_or_init(Apache::first) {
            Ok(apache) => apache.as_ref(),
            Err(e) => panic!("Apache Kafka does not start: {e}"),
        }
    }

    fn first() -> Result<Option<Apache>, String> {
        if let Some(bootstrap) = given() {
            write_down(&Fact::Broker(&format!("the Kafka at {bootstrap}")));
            return Ok(Some(Apache {
                plain: Wire::to(&bootstrap),
                node: None,
            }));
        }
        let Some(distribution) = installed()? else {
            return Ok(None);
        };
        let mut node = Node::prepare(distribution)?;
        node.start()?;
        write_down(&Fact::Broker(&format!("Apache Kafka {}", node.version())));
        Ok(Some(Apache {
            plain: node.plain().clone(),
            node: Some(node),
        }))
    }

    /// As [`Apache::shared`], but a broker of our own, which has the TLS listener and ACLs: `None` also when
    /// `KAFKA_BOOTSTRAP` names somebody else's.
    pub(crate) fn shared_node() -> Option<(&'static Apache, &'static Node)> {
        let apache = Apache::shared()?;
        let node = apache.node.as_ref();
        if node.is_none() {
            write_down(&Fact::LeftOut(
                "needs a broker of its own, not KAFKA_BOOTSTRAP",
            ));
        }
        Some((apache, node?))
    }

    /// The plain-text listener.
    pub(crate) fn wire(&self) -> &Wire {
        &self.plain
    }
}

/// A broker for one test alone, which may stop and start it; it does not run yet. `None` as in [`Apache::shared`].
pub(crate) fn separate_node() -> Option<Node> {
    let found = installed().unwrap_or_else(|e| panic!("{e}"))?;
    Some(Node::prepare(found).unwrap_or_else(|e| panic!("a broker of its own: {e}")))
}

/// The jars of `make kafka`.
///
/// # Errors
/// When they are missing although `SETBRIDGE_REQUIRE_KAFKA=1`.
fn installed() -> Result<Option<Distribution>, String> {
    match Distribution::find() {
        Ok(found) => Ok(Some(found)),
        Err(missing) if required() => Err(format!("SETBRIDGE_REQUIRE_KAFKA is set: {missing}")),
        Err(_) => Ok(None),
    }
}

fn given() -> Option<String> {
    std::env::var("KAFKA_BOOTSTRAP")
        .ok()
        .filter(|b| !b.is_empty())
}

fn required() -> bool {
    std::env::var("SETBRIDGE_REQUIRE_KAFKA").is_ok_and(|v| !matches!(v.as_str(), "" | "0"))
}
