//! The dataflow engine of Millstream: pipelines compiled to topologies, one replica under the scheduler
