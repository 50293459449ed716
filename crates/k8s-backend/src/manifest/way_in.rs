//! The ways to a server: its Service, and its Ingress.

use gipfel_model::{K8sIngress, K8sSpec};
use k8s_openapi::{
    api::{
        core::v1::{Service, ServicePort, ServiceSpec},
        networking::v1::{
            HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule,
            IngressServiceBackend, IngressSpec, IngressTLS, ServiceBackendPort,
        },
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Names, WorkloadKind, group::ROLE};

/// The port's name, which the Ingress and the probes go by.
pub(super) const PORT: &str = "http";

/// Answers come token by token, prompts are long, and a long answer may be silent for minutes.
const NGINX: &[(&str, &str)] = &[
    ("nginx.ingress.kubernetes.io/proxy-body-size", "64m"),
    ("nginx.ingress.kubernetes.io/proxy-buffering", "off"),
    ("nginx.ingress.kubernetes.io/proxy-connect-timeout", "75"),
    ("nginx.ingress.kubernetes.io/proxy-read-timeout", "3600"),
    ("nginx.ingress.kubernetes.io/proxy-send-timeout", "3600"),
];

pub(super) fn service(names: &Names, k8s: &K8sSpec, workload: WorkloadKind) -> Service {
    let mut selector = names.pods.clone();
    if workload != WorkloadKind::Deployment {
        // Of several pods one takes the requests.
        selector.insert(ROLE.0.to_owned(), ROLE.1.to_owned());
    }
    Service {
        metadata: names.metadata.clone(),
        spec: Some(ServiceSpec {
            selector: Some(selector),
            ports: Some(vec![ServicePort {
                name: Some(PORT.to_owned()),
                port: i32::from(k8s.port),
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String(PORT.to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

pub(super) fn ingress(names: &Names, ingress: &K8sIngress) -> Ingress {
    let host = format!("{}.{}", names.name, ingress.domain);
    let mut metadata = names.metadata.clone();
    let issuer = ingress
        .tls_issuer
        .iter()
        .map(|issuer| ("cert-manager.io/cluster-issuer", issuer.as_str()));
    let annotations = NGINX.iter().copied().chain(issuer);
    metadata.annotations = Some(
        annotations
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    );
    let tls = ingress.tls_issuer.as_ref().map(|_| {
        vec![IngressTLS {
            hosts: Some(vec![host.clone()]),
            secret_name: Some(format!("{}-cert", names.name)),
        }]
    });
    Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: ingress.class.clone(),
            rules: Some(vec![IngressRule {
                http: Some(to_service(&names.name)),
                host: Some(host),
            }]),
            tls,
            ..IngressSpec::default()
        }),
        ..Ingress::default()
    }
}

fn to_service(name: &str) -> HTTPIngressRuleValue {
    HTTPIngressRuleValue {
        paths: vec![HTTPIngressPath {
            path: Some("/".to_owned()),
            path_type: "Prefix".to_owned(),
            backend: IngressBackend {
                service: Some(IngressServiceBackend {
                    name: name.to_owned(),
                    port: Some(ServiceBackendPort {
                        name: Some(PORT.to_owned()),
                        number: None,
                    }),
                }),
                resource: None,
            },
        }],
    }
}
