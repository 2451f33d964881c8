"""The pytest plugin: the fixture `gpu_benchmark`, and device times in pytest-benchmark."""
