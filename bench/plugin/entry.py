"""What the entry point `mohge` names: apart from `mohge.bench.plugin`, so that `-p` may load that one beside it."""

pytest_plugins = ("mohge.bench.plugin.hooks",)
