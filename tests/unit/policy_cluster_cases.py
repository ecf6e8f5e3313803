"""Kubernetes resources that break the security baseline, and resources that must not."""

from typing import Any

from berth_policy.rule import UNKNOWN, Resource
from tests.unit.policy_resources import (
    CONTAINER,
    DEPLOYMENT,
    POD,
    POD_SPEC,
    container,
    deployment,
    resource,
    security,
)

TRAEFIK_URN = "urn:pulumi:s::p::berth:kubernetes:Traefik$"
_RBAC = "kubernetes:rbac.authorization.k8s.io/v1"
_GATEWAY = "kubernetes:gateway.networking.k8s.io/v1:Gateway"
_SERVICE = "kubernetes:core/v1:Service"
_PRIVILEGED = {**CONTAINER, "securityContext": {"privileged": True}}
# A dangerous pod: every kind that contains it must be refused.
_ROOT_POD = {**POD_SPEC, "hostNetwork": True, "containers": [_PRIVILEGED]}
_TEMPLATE = {"spec": {"template": {"spec": _ROOT_POD}}}
_ROOT_POD_RESOURCES = [
    *(
        resource(f"kubernetes:{kind}", "evil", _TEMPLATE)
        for kind in (
            "apps/v1:Deployment",
            "apps/v1:ReplicaSet",
            "apps/v1:DaemonSet",
            "apps/v1:StatefulSet",
            "apps/v1beta2:DaemonSet",
            "extensions/v1beta1:ReplicaSet",
            "core/v1:ReplicationController",
            "batch/v1:Job",
            "apps/v1:DaemonSetPatch",
            "argoproj.io/v1alpha1:Rollout",
        )
    ),
    resource(POD, "evil", {"spec": _ROOT_POD}),
    resource("kubernetes:v1:Pod", "evil", {"spec": _ROOT_POD}),
    resource("kubernetes:core/v1:PodPatch", "evil", {"spec": _ROOT_POD}),
    resource("kubernetes:core/v1:PodList", "evil", {"items": [{"spec": _ROOT_POD}]}),
    resource("kubernetes:apps/v1:DaemonSetList", "evil", {"items": [_TEMPLATE]}),
    resource("kubernetes:core/v1:PodTemplate", "evil", {"template": {"spec": _ROOT_POD}}),
    resource("kubernetes:batch/v1:CronJob", "evil", {"spec": {"jobTemplate": _TEMPLATE}}),
    resource("kubernetes:batch/v1beta1:CronJob", "evil", {"spec": {"jobTemplate": _TEMPLATE}}),
    # The pod of a custom resource, and the template of one that contains another template.
    resource("kubernetes:serving.kserve.io/v1beta1:InferenceService", "evil",
             {"spec": {"predictor": _ROOT_POD}}),
    resource("kubernetes:jobset.x-k8s.io/v1alpha2:JobSet", "evil",
             {"spec": {"replicatedJobs": [{"name": "a", "template": _TEMPLATE}]}}),
]  # fmt: skip


def role(kind: str, *rules: dict[str, Any], **props: Any) -> Resource:
    return resource(f"{_RBAC}:{kind}", "r", {"rules": list(rules), **props})


def rule(group: str, name: str, *verbs: str, **more: Any) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [name], "verbs": list(verbs), **more}


def binding(kind: str, name: str, subject: str = "app", subject_kind: str = "User") -> Resource:
    return resource(
        f"{_RBAC}:{kind}",
        "b",
        {
            "roleRef": {"kind": "ClusterRole", "name": name},
            "subjects": [{"kind": subject_kind, "name": subject}],
        },
    )


def _gateway(protocol: str, **more: Any) -> Resource:
    listener = {"name": "web", "port": 80, "protocol": protocol}
    return resource(_GATEWAY, "g", {"spec": {"listeners": [listener]}}, **more)


def _service(**spec: Any) -> Resource:
    return resource(_SERVICE, "s", {"metadata": {}, "spec": spec})


def _own(part: Resource) -> Resource:
    """Return a resource that Berth's ingress controller declares."""
    return Resource(type=part.type, name="traefik", urn=TRAEFIK_URN + part.type, props=part.props)


def _volumes(*volumes: dict[str, Any]) -> Resource:
    return deployment(lambda pod: pod["volumes"].extend(volumes))


def _pod_context(**changes: Any) -> Resource:
    return deployment(lambda pod: pod["securityContext"].update(changes))


def _with_container(key: str) -> Resource:
    """Return a Deployment with a second container, which is privileged."""
    return deployment(lambda pod: pod.update({key: [_PRIVILEGED]}))


def _variable(name: str, value: str) -> Resource:
    return container(env=[{"name": name, "value": value}])


# Rule -> stacks that break it. The first resource has the violation.
CLUSTER_VIOLATIONS: dict[str, list[list[Resource]]] = {
    "pod-no-escalation": [
        *([one] for one in _ROOT_POD_RESOURCES),
        [_with_container("initContainers")],
        [_with_container("ephemeralContainers")],
        [security(privileged="true")],
    ],
    "pod-no-host-access": [
        *([one] for one in _ROOT_POD_RESOURCES),
        [deployment(lambda pod: pod.update(hostPID=True))],
        [deployment(lambda pod: pod.update(hostIPC=True))],
        [container(ports=[{"containerPort": 80, "hostPort": 80}])],
        [_volumes({"name": "h", "hostPath": UNKNOWN})],
        # A patch adds this to a pod whose containers another program declares.
        [resource("kubernetes:apps/v1:DeploymentPatch", "d",
                  {"spec": {"template": {"spec": {"hostNetwork": True}}}})],
    ],
    "pod-not-root": [[security(runAsUser=0)]],
    "pod-volume-types": [
        [_volumes({"name": "n", "nfs": {"server": "a"}})],
        [_volumes({"name": "g", "gitRepo": {"repository": "a"}})],
    ],
    "volume-no-host-path": [
        [resource("kubernetes:core/v1:PersistentVolume", "v",
                  {"spec": {"hostPath": {"path": "/"}}})],
        [resource("kubernetes:core/v1:PersistentVolume", "v", {"spec": {"local": {"path": "/"}}})],
    ],
    "pod-safe-sysctls": [[_pod_context(sysctls=[{"name": "kernel.msgmax", "value": "1"}])]],
    "pod-no-host-process": [
        [_pod_context(windowsOptions={"hostProcess": True})],
        [security(windowsOptions={"hostProcess": True})],
    ],
    "pod-selinux": [
        [_pod_context(seLinuxOptions={"type": "spc_t"})],
        [security(seLinuxOptions={"user": "system_u"})],
    ],
    "pod-profiles-confined": [
        [_pod_context(appArmorProfile={"type": "Unconfined"})],
        [security(seccompProfile={"type": "Unconfined"})],
    ],
    "pod-annotations-confined": [
        [resource(DEPLOYMENT, "d", {"spec": {"template": {
            "metadata": {"annotations": {
                "container.apparmor.security.beta.kubernetes.io/berth": "unconfined"}},
            "spec": POD_SPEC}}})],
        [resource(POD, "d", {"spec": POD_SPEC, "metadata": {"annotations": {
            "seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}})],
    ],
    "pod-proc-mount": [[security(procMount="Unmasked")]],
    "pod-probes-local": [
        [container(livenessProbe={"httpGet": {"host": "169.254.169.254", "port": 80}})],
        [container(lifecycle={"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}})],
    ],
    "pod-no-token": [
        # A name gives no token, only the component that declares the pod.
        [deployment(lambda pod: pod.pop("automountServiceAccountToken"), name="my-traefik")],
        [deployment(lambda pod: pod.update(automountServiceAccountToken=True), name="autoscaler")],
        [_volumes({"name": "t", "projected": {"sources": [{"serviceAccountToken": {}}]}})],
    ],
    "no-token-secret": [
        [resource("kubernetes:core/v1:Secret", "s",
                  {"type": "kubernetes.io/service-account-token"})],
    ],
    "pod-no-secret-in-environment": [
        [_variable(name, value)]
        for name, value in (
            ("apiKey", "clear"),
            ("PGPASSWORD", "clear"),
            ("DB_PASS", "/9j4AAQSkZJRgABAQAAAQ=="),
            ("SIGNING_KEY", "YWJjZGVm"),
            ("DATABASE_URL", "postgres://app:clear@db/app"),
            ("SETTING", "AKIAIOSFODNN7EXAMPLE"),
            ("SETTING", "-----BEGIN PRIVATE KEY-----\nMII"),
            ("HF_TOKEN", "clear"),
            ("PASSWORD_FILE", "not a path: hunter2!"),
        )
    ]
    + [
        [container(args=["--password=clear"])],
        [container(command=["app", "--api-key", "clear"])],
        [deployment(lambda pod: pod.update(initContainers=[
            {**CONTAINER, "env": [{"name": "TOKEN", "value": "clear"}]}]))],
    ],
    "config-map-no-secret": [
        [resource("kubernetes:core/v1:ConfigMap", "c", {"data": {"DB_PASSWORD": "clear"}})],
        [resource("kubernetes:core/v1:ConfigMap", "c",
                  {"data": {"tls.pem": "-----BEGIN PRIVATE KEY-----\nMII\n"}})],
    ],
    "rbac-no-admin": [
        [binding("ClusterRoleBinding", "cluster-admin")],
        [binding("ClusterRoleBinding", "admin")],
        [binding("ClusterRoleBinding", "edit")],
        [binding("RoleBinding", "cluster-admin")],
        [binding("ClusterRoleBindingPatch", "cluster-admin")],
        [binding("ClusterRoleBinding", "system:kube-controller-manager")],
        [binding("ClusterRoleBinding", "view", "system:masters", "Group")],
        [resource(f"{_RBAC}:ClusterRoleBindingList", "b",
                  {"items": [{"roleRef": {"name": "cluster-admin"}}]})],
        [resource("kubernetes:rbac.authorization.k8s.io/v1beta1:ClusterRoleBinding", "b",
                  {"roleRef": {"name": "cluster-admin"}})],
    ],
    "rbac-no-anonymous": [
        [binding(kind, "view", subject, "Group")]
        for kind in ("ClusterRoleBinding", "RoleBinding")
        for subject in (
            "system:unauthenticated",
            "system:authenticated",
            "system:anonymous",
            "system:serviceaccounts",
            "system:serviceaccounts:kube-system",
        )
    ]
    + [[binding("ClusterRoleBinding", "system:discovery", "system:unauthenticated", "Group")]],
    "rbac-no-wildcard": [
        [role("ClusterRole", rule("apps", "deployments", "*"))],
        [role("Role", rule("apps", "*", "get"))],
        [role("Role", rule("*", "deployments", "get"))],
        [role("ClusterRole", {"nonResourceURLs": ["*"], "verbs": ["get"]})],
        [role("Role", rule("", "*/status", "get"))],
    ],
    "rbac-no-escalation": [
        [role("ClusterRole", rule("rbac.authorization.k8s.io", "clusterroles", "escalate"))],
        [role("Role", rule("rbac.authorization.k8s.io", "roles", "bind"))],
        [role("ClusterRole", rule("", "users", "impersonate"))],
        [role("Role", rule("rbac.authorization.k8s.io", "rolebindings", "create"))],
        [role("Role", rule("", "serviceaccounts/token", "create"))],
        [role("Role", rule("", "pods/exec", "create"))],
        [role("ClusterRole", rule("", "nodes/proxy", "get"))],
        [role("ClusterRole", rule("", "secrets", "get"))],
        [role("ClusterRole", rule("", "secrets", "list"))],
        [role("ClusterRole", rule("apps", "daemonsets", "create"))],
        [role("ClusterRole", rule("admissionregistration.k8s.io",
                                  "mutatingwebhookconfigurations", "patch"))],
    ],
    "rbac-no-aggregation": [
        [role("ClusterRole", aggregationRule={"clusterRoleSelectors": []})],
        [role("ClusterRole", metadata={"labels": {
            "rbac.authorization.k8s.io/aggregate-to-admin": "true"}})],
    ],
    "service-not-public": [
        [_service(type="LoadBalancer")],
        [_service(type="NodePort")],
        [_service(externalIPs=["203.0.113.1"])],
        [_own(_service(type="LoadBalancer")), _own(_gateway("HTTP"))],
        [_own(_service(type="LoadBalancer"))],
        [_own(_service(type="NodePort", externalIPs=["203.0.113.1"]))],
    ],
    "gateway-tls": [
        [_gateway("HTTP")],
        [_gateway("TCP")],
        [resource("kubernetes:gateway.networking.k8s.io/v1beta1:Gateway", "g",
                  {"spec": {"listeners": [{"protocol": "HTTP"}]}})],
        [resource("kubernetes:networking.istio.io/v1:Gateway", "g",
                  {"spec": {"servers": [{"port": {"protocol": "HTTP", "number": 80}}]}})],
    ],
    "ingress-tls": [
        [resource("kubernetes:networking.k8s.io/v1:Ingress", "i", {"spec": {"rules": []}})],
        [resource("kubernetes:traefik.io/v1alpha1:IngressRoute", "i", {"spec": {"routes": []}})],
    ],
    "no-hidden-resources": [
        [resource(kind, "r", {"chart": "nginx"})]
        for kind in (
            "kubernetes:helm.sh/v3:Release",
            "kubernetes:core/v1:List",
            "kubernetes:helm.toolkit.fluxcd.io/v2:HelmRelease",
            "kubernetes:argoproj.io/v1alpha1:Application",
            "aws:cloudformation/stack:Stack",
            "command:local:Command",
        )
    ],
}  # fmt: skip


def _named(name: str, part: Resource) -> Resource:
    return Resource(type=part.type, name=name, urn=f"urn:{name}", props=part.props)


# Resources that only look like violations.
CLUSTER_COMPLIANT: list[Resource] = [
    _named("discovery", binding("ClusterRoleBinding", "system:discovery", "system:authenticated")),
    _named("public", binding("ClusterRoleBinding", "system:public-info-viewer",
                             "system:unauthenticated")),
    _named("view", binding("RoleBinding", "view")),
    _named("role", role("Role", rule("", "secrets", "get", "list"), rule("", "pods", "create"))),
    _named("cluster-role", role("ClusterRole", rule("", "nodes", "get", "list"))),
    _named("one-secret", role("ClusterRole", rule("", "secrets", "get", resourceNames=["a"]))),
    _named("cluster-ip", _service(type="ClusterIP")),
    _named("internal", resource(_SERVICE, "s", {
        "metadata": {"annotations": {
            "service.beta.kubernetes.io/aws-load-balancer-scheme": "internal"}},
        "spec": {"type": "LoadBalancer"}})),
    _own(_service(type="NodePort")),
    _own(_gateway("HTTPS")),
    _named("https", _gateway("HTTPS")),
    _named("ingress", resource("kubernetes:networking.k8s.io/v1:Ingress", "i",
                               {"spec": {"tls": [{"hosts": ["a"]}]}})),
    _named("route", resource("kubernetes:traefik.io/v1alpha1:IngressRoute", "i",
                             {"spec": {"tls": {}}})),
    _named("config", resource("kubernetes:core/v1:ConfigMap", "c", {
        "data": {"tokens.json": '{"password": "described here"}\n', "MAX_TOKENS": "512"}})),
    _named("secret", resource("kubernetes:core/v1:Secret", "s", {"type": "Opaque"})),
    _named("volume", resource("kubernetes:core/v1:PersistentVolume", "v",
                              {"spec": {"csi": {"driver": "ebs.csi.aws.com"}}})),
    _named("variables", container(env=[
        {"name": name, "value": value}
        for name, value in (
            ("TOKENIZERS_PARALLELISM", "false"),
            ("MAX_TOKENS", "512"),
            ("PASSWORD_FILE", "/run/secrets/password"),
            ("GATEWAY_VALKEY_URL_FILE", "/etc/gateway/valkey-url"),
            ("AWS_REGION", "eu-central-1"),
            ("SECRET_NAME", "berth-api-keys"),
            ("TOKEN_URL", "https://login.example.com/token"),
            ("ENDPOINT", "https://api.example.com"),
            ("PASSWORD", ""),
        )
    ], args=["--namespace=berth", "--token-file", "/run/token"])),
    _named("sysctl", _pod_context(sysctls=[{"name": "net.ipv4.tcp_syncookies", "value": "1"}])),
    _named("patch", resource("kubernetes:apps/v1:DeploymentPatch", "d", {"spec": {"replicas": 3}})),
    # The schema of a custom resource describes pods.
    _named("schema", resource("kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition", "d",
                              {"spec": {"versions": [{"template": {"spec": _ROOT_POD}}]}})),
]  # fmt: skip
