//! The program as its users run it: jobs, options, messages, files, what can go wrong.

#[path = "../common/mod.rs"]
mod common;
#[path = "../graphs/mod.rs"]
mod graphs;
#[path = "../mutants/mod.rs"]
mod mutants;

mod before_learning;
mod budget;
mod cache;
mod checkpoint;
mod class_outputs;
mod commands;
mod compare;
mod dead_filters;
mod errors;
mod forms;
mod free_sizes;
mod grouped;
mod hostile;
mod hostile_folder;
mod image_sources;
mod inference_mode;
mod isolation;
mod learned;
mod left_matrices;
mod main_job;
mod masks;
mod memory;
mod messages;
#[cfg(feature = "mpi")]
mod mpi;
mod ops;
mod outputs;
mod page;
mod printing;
mod quantised_layers;
mod rules;
mod schema;
mod shared_weights;
mod signals;
mod site;
mod storage;
mod synthetic;
mod targets;
mod terminal;
mod train;
mod two_classes;
mod unusual_models;
mod wrong_data;
