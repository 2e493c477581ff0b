//! Wire contracts of Millstream and their generated types, nothing else. Package, message and field names and numbers are the
//! interface of Seldon Core 2 and of the Open Inference Protocol; `millstream.*` is our own.
#![allow(missing_docs, unused_qualifications, clippy::all)] // generated

/// The Open Inference Protocol (v2 data plane).
pub mod inference {
    tonic::include_proto!("inference");
}

/// Seldon Core 2's control plane.
pub mod seldon {
    // The packages' nesting, because types of one refer to types of the other.
    pub(crate) mod mlops {
        /// Control plane of models, servers, pipelines and experiments.
        pub mod scheduler {
            tonic::include_proto!("seldon.mlops.scheduler");
        }
        /// From the scheduler to the dataflow engine.
        pub mod chainer {
            tonic::include_proto!("seldon.mlops.chainer");
        }
        /// From the scheduler to the model servers.
        pub mod agent {
            tonic::include_proto!("seldon.mlops.agent");
        }
        /// Health of a component.
        pub mod health {
            tonic::include_proto!("seldon.mlops.health");
        }
    }
    pub use mlops::{agent, chainer, health, scheduler};
}

mod millstream {
    /// Placement of lanes on engine replicas and gateways.
    pub mod lanes {
        tonic::include_proto!("millstream.lanes");
    }
    /// What the scheduler keeps in its state topic.
    pub mod state {
        tonic::include_proto!("millstream.state");
    }
}
pub use millstream::{lanes, state};

/// Records of one request.
pub mod inspect {
    tonic::include_proto!("millstream.inspect");
}

/// What gRPC reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("millstream");
