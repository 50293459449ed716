//! Prints the systems of an API with their health and limits, and what the user may use on one of them.
//!
//! `cargo run -p firecrest-client --example status -- clariden`
//!
//! The base URL and the credentials come from the environment: `FIRECREST_URL`, and `FIRECREST_API_KEY` or
//! `FIRECREST_CLIENT_ID`, `FIRECREST_CLIENT_SECRET` and `FIRECREST_TOKEN_URL`.

#![expect(clippy::print_stdout, reason = "an example prints what it finds")]

use firecrest_client::{Client, SystemName};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::from_environment()?;
    let status = client.status();
    for system in status.systems().await? {
        println!("{}", system.name);
        for health in system.unhealthy() {
            println!(
                "  unhealthy: {} {}",
                health.service_type,
                health.message.as_deref().unwrap_or_default()
            );
        }
        let limits = (system.direct_upload_limit(), system.direct_download_limit());
        println!("  direct transfers: {limits:?} bytes up and down");
    }
    let Some(system) = std::env::args().nth(1) else {
        return Ok(());
    };
    let system: SystemName = system.parse()?;
    let user = status.user_info(&system).await?;
    println!(
        "user {} in group {:?}",
        user.user.name,
        user.primary_group().map(|group| &group.name)
    );
    for account in &user.accounts {
        println!(
            "account {}{}",
            account.name,
            if account.default { " (default)" } else { "" }
        );
    }
    for partition in status.partitions(&system, false).await? {
        println!(
            "partition {} is {}",
            partition.name,
            partition.state.as_deref().unwrap_or("?")
        );
    }
    let nodes = status.nodes(&system).await?;
    let idle = nodes
        .iter()
        .filter(|node| node.state.iter().any(|state| state == "IDLE"))
        .count();
    println!("{idle} of {} nodes are idle", nodes.len());
    for reservation in status.reservations(&system).await? {
        println!(
            "reservation {} of {}",
            reservation.name,
            reservation.node_list.as_deref().unwrap_or("?")
        );
    }
    Ok(())
}
