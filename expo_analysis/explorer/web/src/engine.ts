/** The solver alone, for tests and for other pages: no document is needed. */

export { solve, policyOf, Solver } from "./solve";
export { population, ofCounts } from "./world";
export { Objective } from "./objective";
export { descend } from "./search";
export type { Loss, World, Optimum } from "./types";
export { pathOf, lambdas, COARSE, FINE } from "./path";
export { train, motion, chosenAndRejected } from "./flow";
export { decode, encode, worldOf } from "./state";
export { STORY } from "./story";
export { caseOf, stateOf } from "./cases";
export { tvOf, klOf } from "./model";
