"""The reference page of the security baseline."""

from berth_policy.rule import Rule
from berth_policy.rules import RULES
from berth_policy.standards import CONTROLS, Controls

_HEAD = """# Security baseline

<!-- Generated from policy/ by `python -m tools.generate`. Edit the rules instead. -->

Rules that the declared resources of a stack must follow. `berth preview` and `berth up` check every
stack on `docker`, `kubernetes` and `aws` before anything is created. If a resource breaks a
mandatory rule, the resource is not created and the command exits with status 1:

```console
$ ./berth preview -s prod
```

```text
Policies:
    ❌ berth@v1.0.0 (local: policy)
        - [mandatory]  baseline  (aws:kms:Key: data-key)
          A rule of the security baseline for one resource: docs/reference/security-baseline.md.
          kms-rotates (medium): data-key: enableKeyRotation is False. Set enable_key_rotatio…
```

A preview ignores values that are not known before another resource is deployed. The update checks
them before it creates the resource. Rules marked *stack* read several resources, so they run after
all resources are declared.

Stacks on `local` have no resources that the rules cover. `berth rollback` does not run the rules:
it restores a stack that already passed them, and an expired exception must not block it.

## What the rules are, and what they are not

The rules are a baseline for the stacks that Berth declares, and for the resources that you declare
next to them. They read what the engine knows before it creates a resource. They check every
Kubernetes object that contains a pod, whatever its kind, API group or form (a `Patch`, a `List`, a
custom resource), containers on Docker engines, and the AWS resource types that the table below
names.

They are not:

- an admission controller. An object that someone creates with `kubectl`, and a pod that an operator
  in the cluster creates, pass without a check. The namespace of a stack therefore also enforces the
  Pod Security Standard `restricted`, which the cluster checks.
- an audit of an account or a cluster. Resources of other stacks, and settings outside of Pulumi,
  are not read. Security Hub, Prowler and kube-bench read those.
- complete for AWS. A type that no rule names is not checked: databases, for example.
- a scanner for vulnerabilities or secrets. Images are scanned when they are built
  (`berth:images.scan`). A secret is recognized by the name of its variable or the form of its
  value.
- a replacement for a review. A person who can change the program or the configuration can
  add a component or an exception. Protect both in the repository.

## Run Checkov or Kyverno next to the rules

Checkov reads manifests, and Kyverno checks objects in the cluster. Both cover what these rules do
not. A preview contains the manifests, with placeholders for secrets:

```console
$ pulumi preview -s prod --json > preview.json
$ jq '[.steps[].newState.inputs | select(.apiVersion)]
      | {apiVersion: "v1", kind: "List", items: .}' preview.json > manifests.json
$ checkov --file manifests.json --framework kubernetes --compact
```

In the cluster, install Kyverno and its policies for the Pod Security Standards, from their own
stack or by the cluster's administrator, and start in audit mode:

```console
$ helm install kyverno kyverno/kyverno --namespace kyverno --create-namespace
$ helm install kyverno-policies kyverno/kyverno-policies --namespace kyverno \\
    --set podSecurityStandard=restricted --set validationFailureAction=Audit
$ kubectl get policyreports --namespace berth
```

Berth's pods pass `restricted`. For Terraform-style checks of AWS resources, use Prowler or Security
Hub on the account after the deployment.

## Run the rules without Berth

The rules are a Pulumi policy pack. The engine starts it through the program
`pulumi-analyzer-policy-berth`, which is installed with Berth, so the pack works with all language
hosts and for programs in all Pulumi languages:

```console
$ pulumi preview --policy-pack "$(python -c 'import berth_policy; print(berth_policy.__path__[0])')"
```

## Exceptions

An exception in `Pulumi.<stack>.yaml` lets one resource break one rule until a date, with a reason:

```yaml
berth:policy:
  exceptions:
    - rule: pod-image-pinned
      resource: traefik            # logical name
      reason: the mirror has no digests until its replacement in March
      expires: "2027-03-31"        # last day (UTC), at most a year from today
```

Every preview reports the exceptions that apply. On the day after `expires` the rule is active
again. A preview also reports an exception that no resource needs. It rejects an exception from an
unknown rule, without a date, or with a date more than a year away. Rules marked *no exceptions*
accept none. Exceptions are in Git, so the pull request shows who accepts what.

## Accounts

Roles trust only AWS accounts that the configuration names. List your own accounts in
`aws:allowedAccountIds`, which also keeps Pulumi from deploying to another account, and others in
`berth:policy.trusted_accounts`. The accounts in `berth:registry` are trusted too:

```yaml
aws:allowedAccountIds: ["111111111111"]
berth:policy:
  trusted_accounts: ["222222222222"]
```

Without `aws:allowedAccountIds`, the rules cannot tell a foreign account in the policy of a key,
bucket or queue from your own. They then only reject policies that are open to everyone.

## Rules

"""

_MAPPING = """
## Standards

Controls that the rules cover, in part or in full: CIS Amazon EKS Benchmark 1.8.0, AWS Foundational
Security Best Practices (FSBP), and the Pod Security Standard `restricted` of Kubernetes 1.35.
Passing the rules is not the same as passing the standard: it has controls about nodes, accounts and
processes that a program does not declare. Rules without a number are our own.

| rule | CIS EKS | AWS FSBP | Pod Security |
|---|---|---|---|
"""

_TAIL = """
## Cost

| preview of dev (286 resources, 4 cores, means of 4) | time |
|---|---|
| without the rules | 12.6 s |
| with the rules, as three policies | 13.9 s |
| with one policy per rule | 14.4 s |

The table was measured with 49 rules. Checking a resource with all rules takes 0.1 ms of CPU
time: 64 ms for 300 resources, 0.7 s for 6,000.

With one policy per rule, 7,146 resources took 74 s of CPU time, a third of the whole preview:
Pulumi's library decodes all resources again for each policy. If a rule ends a preview, the preview
takes 5 s longer, because the engine waits that long for the program, which waits for the engine.
"""


def build_page() -> str:
    """Return the page in Markdown."""
    rows = "\n".join(_row(rule) for rule in sorted(RULES, key=lambda rule: rule.id))
    table = f"| rule | severity | requirement | remedy |\n|---|---|---|---|\n{rows}\n"
    return f"{_HEAD}{table}{_build_mapping()}{_TAIL}"


def _build_mapping() -> str:
    """Return the table of the standards' controls that the rules correspond to."""
    rows = "\n".join(
        f"| `{rule}` | {_list(one.cis_eks)} | {_list(one.aws)} | {_list(one.pod_security)} |"
        for rule, one in sorted(CONTROLS.items())
        if one != Controls()
    )
    return f"{_MAPPING}{rows}\n"


def _list(controls: tuple[str, ...]) -> str:
    return ", ".join(controls) or "-"


def _row(rule: Rule) -> str:
    notes = [*(["advisory"] if rule.level == "advisory" else [])]
    notes += ["stack"] if rule.needs_stack else []
    notes += [] if rule.allows_exceptions else ["no exceptions"]
    suffix = f" *({', '.join(notes)})*" if notes else ""
    return f"| `{rule.id}` | {rule.severity} | {rule.description}{suffix} | {rule.remedy} |"
