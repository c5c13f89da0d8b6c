// Sorts a table's rows, each body by itself, by the column whose head is clicked; without scripts the rows stay as they are.
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      for (const body of table.tBodies) {
        const rows = [...body.rows].map((row) => [row, row.cells[column]]);
        body.append(...rows.sort((a, b) => compared(a[1], b[1], rising)).map(([row]) => row));
      }
    });
  });
}

// Numbers before texts before cells with nothing in them, whichever way the rest is sorted.
function compared(a, b, rising) {
  const rank = (cell) => ("sort" in cell.dataset ? 0 : /^[–\s]*$/.test(cell.textContent) ? 2 : 1);
  if (rank(a) || rank(b)) {
    if (rank(a) !== rank(b)) return rank(a) - rank(b);
    const order = a.textContent.localeCompare(b.textContent, "en");
    return rising ? order : -order;
  }
  const order = Number(a.dataset.sort) - Number(b.dataset.sort);
  return rising ? order : -order;
}
