"""The reference page of the security baseline."""

from berth_policy.rule import Rule
from berth_policy.rules import RULES

_HEAD = """# The security baseline

<!-- Generated from policy/ by `python -m tools.generate`. Edit the rules instead. -->

Rules on what a stack declares, asked before anything is made. `berth preview` and `berth up` hold
every stack on `kubernetes` and `aws` against them; what breaks a mandatory rule is not made, and
the command ends with exit code 1:

```console
$ ./berth preview -s prod
…
Policies:
    ❌ berth@v1.0.0 (local: policy)
        - [mandatory]  baseline  (aws:kms:Key: data-key)
          A security rule about one resource: docs/reference/security-baseline.md.
          kms-rotates (medium): data-key: enableKeyRotation is False. Set enable_key_rotatio…
```

It takes the language host of Pulumi's own release: the engine that Berth builds with Go, where
there is no release to be had, has an older one that runs no packs in Python, and the commands say
so. With `pulumi` alone: `pulumi preview --policy-pack policy`. Another program's resources are held
against the rules in the same way. A stack on this machine (`local`) has nothing that they are
about. A rollback is not held against them: it goes back to what was passed, and must not wait for
an exception that has ended.

What is known only once something else is deployed breaks no rule in a preview; it is asked again
in the update, before the resource is made. Rules marked *together* look at several resources, and
are asked when all of them are declared.

## Exceptions

One rule that one resource may break, for a time, with a reason, in `Pulumi.<stack>.yaml`:

```yaml
berth:policy:
  exceptions:
    - rule: pod-image-fixed
      resource: traefik            # its logical name
      reason: the mirror has no digests until it is replaced in March
      expires: "2027-03-31"        # the last day on which it holds (UTC)
```

While it holds, every preview tells of it; a day later the rule is in force again. An exception
that nothing needs is told as well, and one of a rule that does not exist is refused, with the rules
that there are. It stands in git, so that a pull request shows who accepts what.

## The rules

"""

_TAIL = """
## What it costs

A preview of dev (286 resources, 4 cores, means of 4): 12.6 s without, 13.9 s with these rules. The
engine's policies are three, which ask all rules. One for each rule, with a name and severity that
the engine knows, took 14.4 s, and 74 s of processor time for 7,146 resources, a third of the whole
preview: Pulumi's library decodes every resource anew for each policy. A preview that a rule ends
takes 5 s longer: so long does the engine wait for the program, which waits for it.
"""


def page() -> str:
    """The page as it stands in docs/."""
    rows = "\n".join(_row(rule) for rule in sorted(RULES, key=lambda rule: rule.id))
    return f"{_HEAD}| rule | severity | asks | remedy |\n|---|---|---|---|\n{rows}\n{_TAIL}"


def _row(rule: Rule) -> str:
    notes = [*(["advisory"] if rule.level == "advisory" else [])]
    notes += ["together"] if rule.whole else []
    marks = f" *({', '.join(notes)})*" if notes else ""
    return f"| `{rule.id}` | {rule.severity} | {rule.says}{marks} | {rule.remedy} |"
