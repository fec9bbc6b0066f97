//! The Dockerfiles.

use crate::read;

const DOCKERFILES: [&str; 2] = ["deploy/docker/node/Dockerfile", "deploy/docker/postgres/Dockerfile"];

fn instructions(path: &str) -> Vec<String> {
    let text = read(path).replace("\\\n", " ");
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn images_use_two_base_images() {
    for path in DOCKERFILES {
        for line in instructions(path).iter().filter(|line| line.starts_with("FROM ")) {
            let base = line.split_whitespace().nth(1).unwrap();
            assert!(["debian:bookworm-slim", "rust:1-bookworm"].contains(&base), "{path}: {line}");
        }
    }
}

#[test]
fn old_builder_understands_files() {
    for path in DOCKERFILES {
        assert!(!read(path).starts_with("# syntax"), "{path}");
        for line in instructions(path) {
            let is_new = line.contains("<<") || line.contains("--mount=") || line.contains("--chmod=");
            assert!(!is_new && !line.contains("--link "), "{path}: {line}");
        }
    }
}

#[test]
fn nothing_runs_as_root() {
    for path in DOCKERFILES {
        let instructions = instructions(path);
        let last_stage = instructions.rsplit(|line| line.starts_with("FROM ")).next().unwrap();
        let user = last_stage.iter().find_map(|line| line.strip_prefix("USER "));
        assert!(user.is_some_and(|user| user != "root" && user != "0"), "{path}");
    }
}

/// The pages have connection strings with `sslrootcert=system`.
#[test]
fn node_trusts_public_authorities() {
    let authorities = "COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/";
    assert!(instructions(DOCKERFILES[0]).iter().any(|line| line == authorities));
}
