//! The receiver process: the simulator, verifying one SET in a hundred, as a receiver that costs little.

use std::io::Write as _;

use setbridge::okta::simulator::{JwksSource, Simulator, SimulatorSettings};

use crate::Fallible;

/// Every so many SETs one is verified in full.
const VERIFY_EVERY: u64 = 100;

/// Says where it listens, then answers every line on its standard input with its counts: taken, refused, repeated.
pub(crate) fn run(issuer: &str, jwks: &str) -> Fallible<()> {
    // One thread is enough for 100 times the load, and takes fewer turns from the bridge than several.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let jwks = serde_json::from_str(&std::fs::read_to_string(jwks)?)?;
    let simulator = {
        let _inside = runtime.enter();
        let settings = SimulatorSettings {
            verify_every: VERIFY_EVERY,
            keep: 0,
            ..SimulatorSettings::new(issuer, "", JwksSource::Given(Box::new(jwks)))
        };
        let simulator = runtime.block_on(Simulator::start(settings.clone()))?;
        let audience = format!("http://{}", simulator.address());
        simulator.register(issuer, &audience, settings.jwks);
        simulator
    };
    println!("{}", simulator.url());
    std::io::stdout().flush()?;
    runtime.block_on(async {
        let (asked, mut questions) = tokio::sync::mpsc::channel(1);
        std::thread::spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                if asked.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        while questions.recv().await.is_some() {
            let tally = simulator.tally();
            println!("{} {} {}", tally.taken, tally.refused, tally.repeats);
            std::io::stdout().flush()?;
        }
        Ok(())
    })
}
