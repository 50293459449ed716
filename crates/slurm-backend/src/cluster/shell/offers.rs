//! What Slurm's commands tell of what there is, and of a job that is not submitted.

use std::collections::BTreeSet;

use firecrest_client::{RemotePath, Sha256};

use super::{
    super::{
        ClusterError, JobRequest,
        offers::{Offers, PartitionFacts},
    },
    CommandError, Input, ShellCluster, ShellCommand,
    commands::{self, Draft, SEPARATOR},
    output,
};

impl ShellCluster {
    pub(super) async fn offers_now(&self) -> Result<Offers, ClusterError> {
        let operation = || "learn what Slurm offers".to_owned();
        let output = self.run(operation, commands::offers()).await?;
        let mut offers = read_offers(&String::from_utf8_lossy(&output.stdout));
        offers.accounts = self.facts_now().await?.accounts;
        Ok(offers)
    }

    pub(super) async fn try_out_now(&self, request: &JobRequest) -> Result<Option<String>, ClusterError> {
        let operation = format!("try {} out", request.name);
        let script = request.script.as_bytes();
        let place = request.directory.join(request.name.as_str());
        let Some(draft) = place.as_ref().ok().and_then(Draft::of) else {
            let reason = format!("{} is no directory for a job", request.directory);
            return Err(self.error(operation, CommandError::Refused(reason)));
        };
        let command = ShellCommand {
            line: commands::try_out(&draft, &request.name, Sha256::of(script)),
            input: Input::Bytes(script.to_vec()),
            time: self.policy.submit,
        };
        // Nothing is submitted, so it may be repeated.
        match self.repeat(&command).await {
            Ok(output) => Ok(Some(output.error_text())),
            Err(error) => Err(self.error(operation, error)),
        }
    }

    pub(super) async fn free_now(&self, directory: &RemotePath) -> Result<Option<u64>, ClusterError> {
        let operation = || format!("learn how much space {directory} has");
        let output = self.run(operation, commands::free(directory)).await?;
        Ok(read_free(&String::from_utf8_lossy(&output.stdout)))
    }
}

/// Partitions, reservations, nodes and qualities of service, each on lines of their own; other lines are passed over.
fn read_offers(text: &str) -> Offers {
    let mut offers = Offers {
        // Slurm says so where there is none, and nothing where it may not be asked.
        reservations: text
            .lines()
            .any(|line| line.starts_with("No reservations"))
            .then(Vec::new),
        ..Offers::default()
    };
    for line in text.lines() {
        if let Some(partition) = read_partition(line) {
            offers.partitions.push(partition);
        } else if let Some(name) = field(line, "ReservationName") {
            offers.reservations.get_or_insert_default().push(name.to_owned());
        } else if let Some(names) = line.strip_prefix("qos=") {
            let names = names.split(',').filter(|name| !name.is_empty());
            let new = names.filter(|name| !offers.qos.iter().any(|known| known == name));
            let new: Vec<String> = new.map(str::to_owned).collect();
            offers.qos.extend(new);
        } else {
            read_nodes(line, &mut offers.partitions);
        }
    }
    offers
}

/// A line of `scontrol --oneliner show partition`.
fn read_partition(line: &str) -> Option<PartitionFacts> {
    let name = field(line, "PartitionName")?;
    let list = |key: &str| {
        let names = field(line, key).filter(|names| *names != "ALL")?;
        Some(names.split(',').map(str::to_owned).collect())
    };
    let number = |key: &str| field(line, key)?.parse().ok();
    Some(PartitionFacts {
        name: name.to_owned(),
        state: field(line, "State").map(str::to_owned),
        time_limit: field(line, "MaxTime").and_then(output::duration),
        nodes: number("TotalNodes"),
        nodes_of_job: number("MaxNodes"),
        whole_nodes: field(line, "OverSubscribe").map(|share| share == "EXCLUSIVE"),
        gpus_of_node: None,
        features: None,
        accounts: list("AllowAccounts"),
        qos: list("AllowQos"),
    })
}

/// What comes of `sinfo` for each kind of node of a partition: its name, resources and features.
fn read_nodes(line: &str, partitions: &mut [PartitionFacts]) {
    let fields: Vec<&str> = line.split(SEPARATOR).collect();
    let [_, name, resources, features] = fields.as_slice() else {
        return;
    };
    let Some(partition) = partitions.iter_mut().find(|one| one.name == *name) else {
        return;
    };
    let known = partition.features.get_or_insert_with(BTreeSet::new);
    let told = features.split(',').filter(|name| !matches!(*name, "" | "(null)"));
    known.extend(told.map(str::to_owned));
    let gpus = gpus(resources);
    partition.gpus_of_node = partition.gpus_of_node.max(Some(gpus));
}

/// The GPUs among resources such as `gpu:gh200:4(S:0-3),nic:2`.
fn gpus(resources: &str) -> u64 {
    // What stands in parentheses says where they are, and has commas of its own.
    let mut depth = 0_u32;
    let mut bare = String::new();
    for letter in resources.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => bare.push(letter),
            _ => {}
        }
    }
    let counts = bare
        .split(',')
        .filter_map(|resource| resource.strip_prefix("gpu:")?.rsplit(':').next()?.parse().ok());
    counts.fold(0, u64::saturating_add)
}

fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let mut words = line.split_whitespace();
    words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// The free bytes in the last line of `df -P -B 1`.
fn read_free(text: &str) -> Option<u64> {
    let last = text.lines().last()?;
    last.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a Slurm 22.05 printed, with `|` for the separator.
    const OFFERS: &str = "\
PartitionName=normal AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default=YES QoS=N/A DefaultTime=NONE \
MaxNodes=UNLIMITED MaxTime=1-00:00:00 MinNodes=0 Nodes=nid001[001-004] OverSubscribe=EXCLUSIVE State=UP TotalCPUs=1152 \
TotalNodes=4 SelectTypeParameters=NONE
PartitionName=debug AllowGroups=ALL AllowAccounts=a-1,a-2 AllowQos=high MaxNodes=2 MaxTime=01:30:00 OverSubscribe=NO \
State=DOWN TotalNodes=8
PartitionName=long MaxTime=UNLIMITED OverSubscribe=FORCE:4 State=UP TotalNodes=1
ReservationName=r-1 StartTime=2026-11-22T10:00:00 EndTime=2026-11-23T10:00:00 Nodes=nid001001
nodes|normal|gpu:gh200:4(S:0-3)|gh200,hsn
nodes|normal|(null)|(null)
nodes|debug|gpu:a100:2,gpu:h100:1,nic:2|(null)
nodes|other|(null)|x
qos=normal,high
qos=high
";

    #[test]
    fn offers_are_read() {
        let offers = read_offers(&OFFERS.replace('|', &SEPARATOR.to_string()));
        let told: Vec<String> = offers
            .partitions
            .iter()
            .map(|one| {
                format!(
                    "{} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
                    one.name,
                    one.state,
                    one.time_limit.map(|limit| limit.as_secs()),
                    one.nodes,
                    one.nodes_of_job,
                    one.whole_nodes,
                    one.gpus_of_node,
                    one.features,
                    one.accounts,
                    one.qos
                )
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        normal Some("UP") Some(86400) Some(4) None Some(true) Some(4) Some({"gh200", "hsn"}) None None
        debug Some("DOWN") Some(5400) Some(8) Some(2) Some(false) Some(3) Some({}) Some(["a-1", "a-2"]) Some(["high"])
        long Some("UP") None Some(1) None Some(false) None None None None
        "#);
        assert_eq!(offers.reservations, Some(vec!["r-1".to_owned()]));
        assert_eq!(offers.qos, ["normal", "high"]);
        let none = read_offers("No reservations in the system\n");
        assert_eq!(none.reservations, Some(Vec::new()));
        assert_eq!(read_offers("").reservations, None);
        assert_eq!(read_offers("").partitions, []);
    }

    #[test]
    fn gpus_are_counted() {
        let check = |text: &str, expected| assert_eq!(gpus(text), expected, "{text}");
        check("gpu:gh200:4(S:0-3)", 4);
        check("gpu:4", 4);
        check("gpu:a:2(S:0,2),gpu:b:1,nic:9", 3);
        check("(null)", 0);
        check("gpu:", 0);
        check("", 0);
    }

    #[test]
    fn free_space_is_read() {
        let check = |text: &str, expected| assert_eq!(read_free(text), expected, "{text}");
        let head = "Filesystem 1-blocks Used Available Capacity Mounted on\n";
        check(&format!("{head}lustre 100 40 60 40% /scratch\n"), Some(60));
        check(head, None);
        check("", None);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(PartitionName=[a-z]{0,3}|MaxTime=[0-9:-]{0,9}|nodes|\\x1f|gpu:|[ \n,():0-9a-z])*") {
            let offers = read_offers(&text);
            prop_assert!(offers.partitions.len() <= text.lines().count());
            prop_assert!(offers.partitions.iter().all(|one| !one.name.contains(' ')));
        }
    }
}
