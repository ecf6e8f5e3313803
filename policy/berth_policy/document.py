"""The reference page of the security baseline."""

from berth_policy.rule import Rule
from berth_policy.rules import RULES

_HEAD = """# Security baseline

<!-- Generated from policy/ by `python -m tools.generate`. Edit the rules instead. -->

Rules that the declared resources of a stack must follow. `berth preview` and `berth up` check every
stack on `kubernetes` and `aws` before anything is created. If a resource breaks a mandatory rule,
the resource is not created and the command exits with status 1:

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

## Run the rules without Berth

The rules are a Pulumi policy pack. The engine starts it through the program
`pulumi-analyzer-policy-berth`, which is installed with Berth, so the pack works with every language
host and for programs in every Pulumi language:

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
      expires: "2027-03-31"        # last day (UTC)
```

Every preview reports the exceptions that apply. On the day after `expires` the rule is active
again.
A preview also reports an exception that no resource needs, and rejects an exception from an unknown
rule. Exceptions are in Git, so the pull request shows who accepts what.

## Rules

"""

_TAIL = """
## Cost

| preview of dev (286 resources, 4 cores, means of 4) | time |
|---|---|
| without the rules | 12.6 s |
| with the rules, as three policies | 13.9 s |
| with one policy per rule | 14.4 s |

With one policy per rule, 7,146 resources took 74 s of CPU time, a third of the whole preview:
Pulumi's library decodes every resource again for each policy. If a rule ends a preview, the preview
takes 5 s longer, because the engine waits that long for the program, which waits for the engine.
"""


def build_page() -> str:
    """Return the page in Markdown."""
    rows = "\n".join(_row(rule) for rule in sorted(RULES, key=lambda rule: rule.id))
    table = f"| rule | severity | requirement | remedy |\n|---|---|---|---|\n{rows}\n"
    return f"{_HEAD}{table}{_TAIL}"


def _row(rule: Rule) -> str:
    notes = [*(["advisory"] if rule.level == "advisory" else [])]
    notes += ["stack"] if rule.needs_stack else []
    suffix = f" *({', '.join(notes)})*" if notes else ""
    return f"| `{rule.id}` | {rule.severity} | {rule.description}{suffix} | {rule.remedy} |"
