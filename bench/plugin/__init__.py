"""The pytest plugin: the fixture `gpu_benchmark`, and device times in pytest-benchmark.

The entry point `mohge` loads it into every pytest session of the environment, so importing it costs next to nothing:
torch and the rest of this package are imported when a test asks for a time. `-p mohge.bench.plugin` loads it too.

PYTEST_DONT_REWRITE: nothing here asserts, and a suite may have imported it before pytest does.
"""

# pytest registers these modules under their own names, once, whoever asks for them.
pytest_plugins = ("mohge.bench.plugin.hooks",)
