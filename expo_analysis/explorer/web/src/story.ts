/** The tour: states in order, each with what to see in it. The words hold whatever the numbers; tests check them. */

import type { State } from "./state";

export interface Step {
  key: string;
  title: string;
  text: string;
  state: Partial<State>;
}

const EVEN = [1 / 3, 1 / 3, 1 / 3];
const PAPER = { reference: [0.4, 0.4, 0.2], optimal: [0.6, 0.3, 0.1], pairs: EVEN, counts: null, flips: 0 };
const FOUR = ["dpo", "ipo", "fdpo", "expo"];

export const STORY: Step[] = [
  {
    key: "ends",
    title: "Where does λ lead?",
    text: "Every loss has a knob λ. Turned up, all of them return to π_ref. Turned down, they should recover π*, the policy that the preferences come from. " +
      "Follow the lines: DPO’s, IPO’s and f-DPO’s pass by π* and end in a corner, where only one answer is ever given. EXPO’s line ends in π*. Drag ★ and ⬟: it always does.",
    state: { ...PAPER, lam: 0.5, losses: FOUR, focus: "expo", field: false, train: false },
  },
  {
    key: "degenerate",
    title: "A smaller λ is not better",
    text: "At λ = 0.01 one might hope to follow the preferences closely. DPO, IPO and f-DPO have all but given up two of the three answers, though people want them now and then. " +
      "In the chart, their distance from π* has a dip and then rises: λ has to be guessed. EXPO’s only falls.",
    state: { ...PAPER, lam: 0.01, losses: FOUR, focus: "dpo", field: false, train: false },
  },
  {
    key: "preserve",
    title: "Leave what is right",
    text: "Here π_ref already is π*. Nothing should happen, whatever λ is. Only EXPO stays, for every λ; DPO’s, IPO’s and f-DPO’s optima walk off along the lines, and the arrows show " +
      "that their very first step leaves. One λ serves all prompts, so no choice of it is right for a prompt that is good already and for one that is not.",
    state: {
      ...PAPER, reference: [0.6, 0.3, 0.1], lam: 1, losses: FOUR, focus: "dpo", field: true, train: false,
    },
  },
  {
    key: "harm",
    title: "Better than before?",
    text: "π_ref is close to π*, and a little more careful about C. The optima of RLHF and DPO at this λ are farther from π* than π_ref was: they lie above the dashed line of the chart. " +
      "EXPO’s optimum lies between its two ends, in every divergence that obeys data processing: that is a theorem.",
    state: {
      ...PAPER, reference: [0.55, 0.3, 0.15], optimal: [0.62, 0.28, 0.1], lam: 0.5, losses: ["rlhf", "dpo", "ipo", "expo"],
      focus: "dpo", field: false, train: false,
    },
  },
  {
    key: "displace",
    title: "Chosen, yet less likely",
    text: "A familiar sight in training logs: with DPO the mean log-probability of rejected answers falls, and that of chosen ones falls too. It is no bug of the code. " +
      "B and C are chosen now and then, and DPO’s optimum has no room for them; the thick line is the way there. With EXPO, chosen answers gain a little. In the chart below, solid lines are chosen answers.",
    state: { ...PAPER, lam: 0.1, losses: ["dpo", "expo"], focus: "dpo", field: false, train: true },
  },
  {
    key: "pairs",
    title: "Who was compared?",
    text: "The same preferences as at first, but A and B are compared a hundred times as often as the others. DPO’s optimum does not care. IPO’s does, and EXPO’s even more: " +
      "about C there is hardly any evidence, so that the regulariser has the say. Its two ends stay where they were, π* and π_ref. Drag the point in the small triangle.",
    state: { ...PAPER, pairs: [0.98, 0.01, 0.01], lam: 0.3, losses: ["dpo", "ipo", "expo"], focus: "expo", field: false, train: false },
  },
  {
    key: "divergence",
    title: "Which divergence?",
    text: "The same preference term with other regularisers: EXPO has KL(π_ref ‖ π), SPO has KL(π ‖ π_ref), the third Jensen–Shannon. All end in π* and in π_ref, and take other ways between. " +
      "Only the first is convex in the logits: the others may have several minima.",
    state: {
      ...PAPER, reference: [0.02, 0.28, 0.7], optimal: [0.7, 0.28, 0.02], lam: 1, losses: ["expo", "spo", "explicit_jensen_shannon"],
      focus: "expo", field: true, train: false,
    },
  },
  {
    key: "noise",
    title: "A few games only",
    text: "Counts instead of preferences: A won all of its three games, and B and C one each against each other. DPO and f-DPO have no optimum at any λ: the loss keeps falling as A takes all. " +
      "IPO and EXPO have exactly one, for all data of this kind.",
    state: {
      ...PAPER, reference: [0.3, 0.4, 0.3], counts: [[0, 2, 1], [0, 0, 1], [0, 1, 0]], lam: 0.3, losses: FOUR, focus: "dpo",
      field: true, train: false,
    },
  },
];
