// What was proven, for people.

/** How many entries are shown of a list. */
const SHOWN = 4096;

/** The elements that show a statement. */
export function show(statement) {
  switch (statement.kind) {
    case "program":
      return [
        title("The model maps this input to this output"),
        ...statement.inputs.flatMap((tensor) => matrix("Input", tensor)),
        ...statement.outputs.flatMap((tensor) => matrix("Output", tensor)),
        ...statement.lists.flatMap((list) => [caption("List of indices"), numbers(list)]),
      ];
    case "text":
      return [
        title("The model continues this prompt so"),
        caption(`${statement.prompt} tokens given, then ${statement.tokens.length - statement.prompt} proven (marked)`),
        tokens(statement.tokens.subarray(0, statement.prompt), statement.tokens.subarray(statement.prompt)),
        note(),
      ];
    case "chat":
      return [
        title("The model says its part of this conversation"),
        caption(`${statement.turns.length} turns: tokens given, then tokens proven (marked)`),
        ...statement.turns.map(({ given, generated }) => tokens(given, generated)),
        note(),
      ];
    case "encoding":
      return [
        title("The model gives this vector for this sentence"),
        caption(`Tokens (${statement.tokens.length})`),
        numbers(statement.tokens),
        caption(`Vector (${statement.vector.length} integers)`),
        numbers(statement.vector),
        note(),
      ];
  }
}

function matrix(side, { name, rows, cols, fractionBits, values }) {
  const scale = 2 ** -fractionBits;
  const real = Array.from(values.subarray(0, SHOWN), (value) => Number((value * scale).toPrecision(6)));
  return [
    caption(`${side} “${name}”, ${rows} × ${cols}: values`),
    numbers(real, values.length),
    caption(`as integers times 2^${-fractionBits}`),
    numbers(values),
  ];
}

function title(text) {
  return element("h3", text);
}

function caption(text) {
  return element("p", text);
}

function note() {
  return element("p", "Tokens are numbers. Which words they stand for is said by a tokenizer, which the key does not vouch for.");
}

function numbers(list, length = list.length) {
  const more = length > SHOWN ? ` … and ${length - SHOWN} more` : "";
  return box(document.createTextNode(Array.from(list.slice(0, SHOWN)).join(" ") + more));
}

function tokens(given, proven) {
  const mark = element("mark", Array.from(proven).join(" "));
  return box(document.createTextNode(`${Array.from(given).join(" ")} `), mark);
}

function box(...nodes) {
  const box = element("div", "");
  box.className = "numbers";
  // Those who scroll with the keyboard have to reach it.
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "numbers");
  box.append(...nodes);
  return box;
}

function element(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}
