// Constants that tools/build/wasm.mjs hands to the compiler (--use).
/** 1 in core.check and core.trace. */
declare const TRACE: i32;
