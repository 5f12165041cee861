//! Settings that are refused, and how that is said.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

use diolkos_deploy::{Settings, Values, limit};

fn refused(profile: &str, values: &str) -> String {
    let values = Values::parse(values).unwrap();
    Settings::of(profile, "diolkos:1", values).expect_err(profile).to_string()
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn what_cannot_become_good_objects_is_refused_with_the_way_out() {
    let remote = "cluster: a\nremote: {primaryCluster: b, primaryAddresses: ";
    let cases: &[(&str, &str, &str)] = &[
        ("primary", "", "the cluster's name is missing for profile primary; give --cluster"),
        (
            "gateway",
            "cluster: a",
            "the network that the gateway leads into is missing for profile gateway; give --network",
        ),
        (
            "remote",
            "cluster: a",
            "the primary's cluster is missing for profile remote; give --primary-cluster",
        ),
        (
            "remote",
            "cluster: a\nremote: {primaryCluster: b}",
            "the address by which the primary is reached is missing for profile remote; give --primary-address",
        ),
        (
            "other",
            "cluster: a",
            "--profile \"other\": is none; use primary, remote, gateway or crds",
        ),
        (
            "primary",
            "cluster: 'a b'",
            "--cluster: cluster name \"a b\" contains ' '; use letters, digits, '-', '_' and '.'",
        ),
        (
            "primary",
            "cluster: a\nnetwork: 'a/b'",
            "--network \"a/b\": cannot be a label; use up to 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends",
        ),
        ("primary", "cluster: a\nexport: some", "--export \"some\": is neither; use listed or all"),
        (
            "primary",
            "cluster: a\ntrustDomain: A.b",
            "--trust-domain \"A.b\": is no trust domain; use lower-case letters, digits, '-', '_' and '.'",
        ),
        (
            "primary",
            "cluster: a\nnamespace: A",
            "--namespace \"A\": is no namespace; use lower-case letters, digits and '-'",
        ),
        (
            "primary",
            "cluster: a\nimage: 'a b'",
            "--image \"a b\": is no image; write it like registry.example/diolkos:1",
        ),
        (
            "primary",
            "cluster: a\nimagePullPolicy: Sometimes",
            "imagePullPolicy \"Sometimes\": is no policy; use Always, IfNotPresent or Never",
        ),
        (
            "primary",
            "cluster: a\nprimary: {replicas: 0}",
            "primary.replicas 0 is out of range; use 1 to 16",
        ),
        (
            "gateway",
            "cluster: a\nnetwork: n\ngateway: {replicas: 17}",
            "gateway.replicas 17 is out of range; use 1 to 16",
        ),
        (
            "gateway",
            "cluster: a\nnetwork: n\ngateway: {drainSeconds: 3601}",
            "gateway.drainSeconds 3601 is out of range; use 0 to 3600",
        ),
        (
            "remote",
            &format!("{remote}[127.0.0.1]}}"),
            "--primary-address \"127.0.0.1\": is loopback, link-local, multicast or unspecified; give the address by which other clusters reach the primary's gateway",
        ),
        (
            "remote",
            &format!("{remote}['fe80::1']}}"),
            "--primary-address \"fe80::1\": is loopback, link-local, multicast or unspecified; give the address by which other clusters reach the primary's gateway",
        ),
        (
            "remote",
            &format!("{remote}['a.example:15012']}}"),
            "--primary-address \"a.example:15012\": is neither an address nor a host; use an IP address, or one name in lower case without a port",
        ),
        (
            "remote",
            &format!("{remote}['10.0.0.256']}}"),
            "--primary-address \"10.0.0.256\": is neither an address nor a host; use an IP address, or one name in lower case without a port",
        ),
        (
            "remote",
            &format!("{remote}[a.example, 10.0.0.1]}}"),
            "--primary-address \"a.example,10.0.0.1\": mixes names, or names and addresses; give one name, or addresses alone",
        ),
        (
            "remote",
            &format!("{remote}['10.0.0.1']}}\ngateway: {{exposePrimary: true}}"),
            "--expose-primary means nothing for profile remote; leave it out",
        ),
        (
            "primary",
            "cluster: a\nmesh: {trustDomain: b}",
            "mesh settings: trustDomain is a value of its own; move it out of mesh",
        ),
        ("primary", "cluster: a\nmesh: {staleAfter: soon}", "mesh settings: "),
        ("primary", "cluster: a\nmesh: {staleAftr: 90s}", "mesh settings: "),
        ("primary", "cluster: a\nmesh: {clusters: []}", "mesh settings: "),
        ("primary", "cluster: a\nclusterDomain: 'a..b'", "mesh settings: "),
    ];
    for (profile, values, expected) in cases {
        let said = refused(profile, values);
        assert!(said.starts_with(expected), "{values}\n{said}");
        assert!(!said.contains('\n'), "{said}");
    }
}

#[test]
fn as_many_as_the_limit_and_not_one_more() {
    let remote = |count: usize| {
        let addresses: Vec<String> = (1..=count).map(|n| format!("10.0.0.{n}")).collect();
        let text = format!(
            "cluster: a\nremote: {{primaryCluster: b, primaryAddresses: [{}]}}",
            addresses.join(", ")
        );
        Settings::of("remote", "diolkos:1", Values::parse(&text).unwrap())
    };
    assert!(remote(limit::PRIMARY_ADDRESSES_MAX).is_ok());
    assert!(remote(limit::PRIMARY_ADDRESSES_MAX + 1).is_err());
    let network = |bytes: usize| {
        let text = format!("cluster: a\nnetwork: {}", "n".repeat(bytes));
        Settings::of("primary", "diolkos:1", Values::parse(&text).unwrap())
    };
    assert!(network(limit::LABEL_BYTES_MAX).is_ok());
    assert!(network(limit::LABEL_BYTES_MAX + 1).is_err());
    let replicas = |count: u32| {
        let text = format!("cluster: a\nprimary: {{replicas: {count}}}");
        Settings::of("primary", "diolkos:1", Values::parse(&text).unwrap())
    };
    assert!(replicas(limit::REPLICAS_MAX).is_ok());
    assert!(replicas(limit::REPLICAS_MAX + 1).is_err());
}
