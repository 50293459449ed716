//! What FirecREST tells of partitions and reservations.

use std::collections::BTreeSet;

use firecrest_client::{Node, Partition};

use super::{
    super::{
        ClusterError,
        offers::{Offers, PartitionFacts},
    },
    FirecrestCluster,
};

impl FirecrestCluster {
    pub(super) async fn offers_now(&self) -> Result<Offers, ClusterError> {
        let status = self.client.status();
        let (partitions, reservations, nodes, facts) = tokio::join!(
            status.partitions(&self.system, true),
            status.reservations(&self.system),
            status.nodes(&self.system),
            self.facts_now()
        );
        let partitions = partitions.map_err(|error| self.error("learn what Slurm offers", error))?;
        // The others only add to what is known.
        let untold = |error: &firecrest_client::Error| {
            tracing::debug!(system = %self.system, %error, "the cluster does not tell all that it offers");
        };
        let reservations = reservations.inspect_err(untold).ok();
        let nodes = nodes.inspect_err(untold).ok();
        let accounts = facts.map(|facts| facts.accounts).unwrap_or_default();
        Ok(Offers {
            partitions: partitions
                .into_iter()
                .map(|partition| facts_of(partition, nodes.as_deref()))
                .collect(),
            accounts,
            qos: Vec::new(),
            reservations: reservations.map(|all| all.into_iter().map(|one| one.name).collect()),
        })
    }
}

fn facts_of(partition: Partition, nodes: Option<&[Node]>) -> PartitionFacts {
    let features = nodes.map(|nodes| {
        let own = nodes
            .iter()
            .filter(|node| node.partitions.contains(&partition.name));
        let lists = own.filter_map(|node| node.features.as_deref());
        let names = lists.flat_map(|list| list.split(','));
        let names = names.filter(|name| !matches!(*name, "" | "(null)"));
        names.map(str::to_owned).collect::<BTreeSet<String>>()
    });
    PartitionFacts {
        state: partition.state,
        nodes: partition.total_nodes,
        features,
        name: partition.name,
        ..PartitionFacts::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn partitions_have_the_features_of_their_nodes() {
        let partition: Partition =
            from_value(json!({ "name": "normal", "partition": "UP", "totalNodes": 4, "cpus": 1152 }))
                .expect("a partition");
        let nodes: Vec<Node> = from_value(json!([
            { "name": "a", "partitions": ["normal"], "features": "gh200,hsn" },
            { "name": "b", "partitions": ["normal"], "features": "(null)" },
            { "name": "c", "partitions": ["xfer"], "features": "slow" },
        ]))
        .expect("nodes");
        let facts = facts_of(partition.clone(), Some(&nodes));
        assert_eq!(facts.state.as_deref(), Some("UP"));
        assert_eq!(facts.nodes, Some(4));
        assert_eq!(
            facts.features,
            Some(["gh200".to_owned(), "hsn".to_owned()].into())
        );
        assert_eq!(facts_of(partition, None).features, None);
    }
}
