"""Where experts live: policies that assign them to ranks, what that costs each rank, and a bound on the best.

From a placement on: `simulate` a step on a `Cluster` under a cost model, sum up steps of a trace, weigh a `migration`.
"""

from .allocation import Placement, allocate, find_policy, place, policies_for, rescore
from .answer import Answer, Solution
from .bounds import lower_bound
from .cluster import CLUSTERS, Cluster
from .copies import assignment
from .cost_errors import ModelError, fit_roofline, held_out_error, model_error
from .costs import CostModel, CostTable, Roofline, cost_table, h200_roofline, rank_seconds
from .formats import (
    AUTO,
    EXPORTS,
    FORMATS,
    CountsFile,
    Recorded,
    TokensFile,
    phy2log,
    read_phy2log,
    read_recorded,
    to_eplb,
    to_trtllm,
)
from .independence import expected_traffic
from .link_tables import read_deepep_link, read_link, read_nccl_link
from .links import Link, table_link
from .loads import Loads, read_loads
from .metrics import Balance, Balances, balance, balances
from .migration import Migration, PayBack, closest_labels, migration, pay_back
from .node_limit import node_limited
from .pareto import pareto_front
from .policies import POLICIES, Policy, rebalance, stratify
from .problem import Problem, make_problem
from .simulation import Simulation, simulate
from .steps import Batch, LayerStep, Summary, batches, simulate_steps, summarize
from .sweeps import SimulationCase, Sweep, cut, sweep
from .timeline import Interval
from .traffic import STYLES, Traffic, count_traffic
from .transfer import Transfer, transfer

__all__ = [
    "AUTO",
    "CLUSTERS",
    "EXPORTS",
    "FORMATS",
    "POLICIES",
    "STYLES",
    "Answer",
    "Balance",
    "Balances",
    "Batch",
    "Cluster",
    "CostModel",
    "CostTable",
    "CountsFile",
    "Interval",
    "LayerStep",
    "Link",
    "Loads",
    "Migration",
    "ModelError",
    "PayBack",
    "Placement",
    "Policy",
    "Problem",
    "Recorded",
    "Roofline",
    "Simulation",
    "SimulationCase",
    "Solution",
    "Summary",
    "Sweep",
    "TokensFile",
    "Traffic",
    "Transfer",
    "allocate",
    "assignment",
    "balance",
    "balances",
    "batches",
    "closest_labels",
    "cost_table",
    "count_traffic",
    "cut",
    "expected_traffic",
    "find_policy",
    "fit_roofline",
    "h200_roofline",
    "held_out_error",
    "lower_bound",
    "make_problem",
    "migration",
    "model_error",
    "node_limited",
    "pareto_front",
    "pay_back",
    "phy2log",
    "place",
    "policies_for",
    "rank_seconds",
    "read_deepep_link",
    "read_link",
    "read_loads",
    "read_nccl_link",
    "read_phy2log",
    "read_recorded",
    "rebalance",
    "rescore",
    "simulate",
    "simulate_steps",
    "stratify",
    "summarize",
    "sweep",
    "table_link",
    "to_eplb",
    "to_trtllm",
    "transfer",
]
