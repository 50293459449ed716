//! Jobs by Slurm's commands, for which small scripts stand here.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use firecrest_sim::Options;
use serde_json::json;

use crate::site::{Site, WORK};

const SBATCH: &str = "#!/bin/bash\nprintf '%s\\n' \"$@\" > HERE/arguments\ncat > HERE/script\n\
                      if grep -q refuse HERE/script; then echo 'sbatch: error: Batch job submission failed: no' >&2; exit 1; fi\n\
                      echo '42;clariden'\n";

const SACCT: &str = "#!/bin/bash\ncase \"$*\" in *--jobs=43*) exit 0 ;; esac\n\
                     row() { local IFS=$'\\x1f'; echo \"$*\"; }\n\
                     row 42 run PENDING 0:0 0 Unknown Unknown 10 a-lab01 0 2 clariden lab01 'None assigned' normal tester ROOT\n";

const SCANCEL: &str = "#!/bin/bash\necho \"scancel: Terminating job $2\" >&2\n[ \"$2\" = 42 ] || \
                       echo \"scancel: error: Kill job error on job id $2: Invalid job id specified\" >&2\n";

const SCONTROL: &str = "#!/bin/bash\n[ \"$1\" = write ] && { printf '#!/bin/bash\\ntrue\\n'; exit 0; }\n\
                        [ \"${4:-42}\" = 42 ] || { echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1; }\n\
                        echo \"JobId=42 JobName=run UserId=tester(25001) GroupId=lab01(25100) Account=a-lab01 \
                        JobState=PENDING Reason=Resources ExitCode=0:0 RunTime=00:00:00 TimeLimit=00:10:00 \
                        StartTime=1795295760 EndTime=Unknown Partition=normal NodeList= NumNodes=2-2 WorkDir=ROOT \
                        StdErr=ROOT/e StdIn=/dev/null StdOut=ROOT/o Power=\"\n";

const SINFO: &str = "#!/bin/bash\ncase \"$*\" in *--Node*) \
                     printf 'nid001001\\x1fidle\\x1fnormal*\\x1f288\\x1f800000\\x1f4:72:1\\x1fgh200\\x1f0/288/0/288\\n' ;;\n\
                     *) printf 'normal\\x1fup\\x1f1\\x1f0/288/0/288\\n' ;; esac\n";

const SRUN: &str = "#!/bin/bash\nprintf '%s\\n' \"$@\" > HERE/attached\n";

/// A site whose cluster is a Slurm of scripts in a folder, which must be there first.
async fn site(commands: &Path) -> Site {
    let change = |options: &mut Options| {
        let cluster = &mut options.clusters[0];
        cluster.slurm = true;
        cluster.slurm_commands = Some(commands.to_owned());
        // The scripts write into a folder of the test.
        options.users[0].uid = rustix::process::getuid().as_raw();
        options.users[0].groups[0].id = rustix::process::getgid().as_raw();
    };
    fs::write(commands.join("sbatch"), "").expect("a command");
    let site = Site::start_with(change).await;
    let root = site.real(WORK).display().to_string();
    let programs = [
        ("sbatch", SBATCH),
        ("sacct", SACCT),
        ("scancel", SCANCEL),
        ("scontrol", SCONTROL),
        ("sinfo", SINFO),
        ("srun", SRUN),
    ];
    for (name, text) in programs {
        let path = commands.join(name);
        let text = text
            .replace("HERE", &commands.display().to_string())
            .replace("ROOT", &root);
        fs::write(&path, text).expect("a command");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    }
    site
}

fn read(commands: &Path, name: &str) -> String {
    fs::read_to_string(commands.join(name)).expect("what the command was given")
}

#[tokio::test]
async fn a_submission_is_one_of_sbatch() {
    let commands = tempfile::tempdir().expect("a temporary folder");
    let site = site(commands.path()).await;
    let job = |script: &str| {
        json!({"job": {
            "workingDirectory": WORK, "name": "run", "account": "a-lab01", "env": {"A": format!("{WORK}/x"), "B": "1"},
            "standardOutput": format!("{WORK}/o-%j"), "script": script,
        }})
    };
    let script = format!("#!/bin/bash\n#SBATCH --nodes=2\ncat {WORK}/in\n");
    let reply = site
        .call("POST", "/compute/clariden/jobs", Some(&job(&script)))
        .await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()),
        (201, json!({"jobId": "42"}))
    );
    let root = site.real(WORK).display().to_string();
    let given = read(commands.path(), "arguments").replace(&root, "ROOT");
    insta::assert_snapshot!(given, @"
    --parsable
    --chdir=ROOT
    --job-name=run
    --account=a-lab01
    --output=ROOT/o-%j
    --export=ALL,A=ROOT/x,B=1
    ");
    assert_eq!(read(commands.path(), "script"), script.replace(WORK, &root));
    let refused = site
        .call(
            "POST",
            "/compute/clariden/jobs",
            Some(&job("#!/bin/bash\nrefuse\n")),
        )
        .await;
    let text = "Unexpected Slurm command response. exit_status:1 std_err:sbatch: error: Batch job submission failed: no\n";
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["message"]),
        (500, &json!(text))
    );
    site.running.stop().await;
}

#[tokio::test]
async fn jobs_are_those_of_the_accounting_and_the_queue() {
    let commands = tempfile::tempdir().expect("a temporary folder");
    let site = site(commands.path()).await;
    for path in [
        "/compute/clariden/jobs/42",
        "/compute/clariden/jobs",
        "/compute/clariden/jobs?name=run",
    ] {
        let reply = site.call("GET", path, None).await;
        let job = &reply.json()["jobs"][0];
        assert_eq!(
            job["status"]["stateReason"],
            "Resources",
            "{path}: {}",
            reply.json()
        );
        assert_eq!(
            (&job["workingDirectory"], &job["nodes"]),
            (&json!(WORK), &json!(""))
        );
        assert_eq!(
            (&job["time"]["start"], &job["time"]["limit"]),
            (&json!(1_795_295_760), &json!(600))
        );
    }
    let listed = site
        .call("GET", "/compute/clariden/jobs?name=other", None)
        .await
        .json();
    assert_eq!(listed, json!({"jobs": []}));
    let metadata = site
        .call("GET", "/compute/clariden/jobs/42/metadata", None)
        .await
        .json();
    assert_eq!(metadata["jobs"][0]["standardOutput"], format!("{WORK}/o"));
    assert_eq!(metadata["jobs"][0]["script"], "#!/bin/bash\ntrue\n");
    for path in ["/compute/clariden/jobs/43", "/compute/clariden/jobs/43/metadata"] {
        assert_eq!(site.call("GET", path, None).await.status, 404, "{path}");
    }
    site.running.stop().await;
}

#[tokio::test]
async fn the_other_calls_are_commands_too() {
    let commands = tempfile::tempdir().expect("a temporary folder");
    let site = site(commands.path()).await;
    assert_eq!(
        site.call("DELETE", "/compute/clariden/jobs/42", None)
            .await
            .status,
        204
    );
    let unknown = site.call("DELETE", "/compute/clariden/jobs/43", None).await;
    assert!(unknown.status == 500 && unknown.json()["message"].to_string().contains("Invalid job id"));
    let command = json!({"command": "touch stop"});
    assert_eq!(
        site.call("PUT", "/compute/clariden/jobs/42/attach", Some(&command))
            .await
            .status,
        204
    );
    assert_eq!(
        read(commands.path(), "attached"),
        "--jobid=42\n--overlap\n/bin/bash\n-c\ntouch stop\n"
    );
    let nodes = site.call("GET", "/status/clariden/nodes", None).await.json();
    assert_eq!(
        (&nodes["nodes"][0]["name"], &nodes["nodes"][0]["state"]),
        (&json!("nid001001"), &json!(["IDLE"]))
    );
    let partitions = site.call("GET", "/status/clariden/partitions", None).await.json();
    assert_eq!(partitions["partitions"][0]["cpus"], 288);
    assert!(
        site.running.set_node("clariden", "nid001001", true).is_err(),
        "a real Slurm takes no orders"
    );
    site.running.stop().await;
}
