"""The bench: workloads, correctness gate, timing, records, comparison, report and command line.

The only part that knows about users, files and clocks. Its floors, one folder each, import only those before them
(DESIGN.md section 4).
"""
