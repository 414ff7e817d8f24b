for (const table of document.querySelectorAll("table")) {
  const heads = [...table.querySelectorAll("th")];
  const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const compare = (a, b) => (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
  heads.forEach((head, column) => {
    head.querySelector("button").onclick = () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const [full, empty] = [[], []];
      for (const row of table.tBodies[0].rows) (value(row, column) === "" ? empty : full).push(row);
      full.sort((a, b) => compare(value(a, column), value(b, column)) * (up ? 1 : -1));
      table.tBodies[0].append(...full, ...empty);
    };
  });
}
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((one) => { one.open = true; });
});
addEventListener("afterprint", () => opened.forEach((one) => { one.open = false; }));
