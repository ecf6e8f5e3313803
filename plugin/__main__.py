"""Berth's components as a plugin that Pulumi starts from this folder; see PulumiPlugin.yaml."""

from pulumi_berth.plugin import run

run()
