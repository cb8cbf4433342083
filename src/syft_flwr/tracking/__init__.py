"""Copies the metrics of a run into the trackers that the setting ``tracking`` names, such as TensorBoard and MLflow.

Each tracker has a process of its own, which reads the record of the run while it grows. So a tracker that is slow, broken or
unreachable costs the run nothing, and its packages stay out of the process of the ServerApp.
"""
