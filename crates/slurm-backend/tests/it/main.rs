//! What is rendered, what shells say of it, and what it does.

mod carried_out;
mod cases;
mod scripts;
mod shells;
