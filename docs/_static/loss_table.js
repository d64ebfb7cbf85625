// Sorts the table of losses by a click on a heading, and filters its rows. Without this script it is a plain table.
addEventListener("DOMContentLoaded", () => {
  const table = document.querySelector(".losses table");
  if (!table) return;
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const names = heads.map((head) => head.textContent.trim());
  const textAt = (row, place) => row.cells[place].textContent.trim();

  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = names[place];
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      rows.sort((one, two) => {
        const [a, b] = [textAt(one, place), textAt(two, place)];
        if (!a || !b) return !a - !b; // what is not known comes last
        const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
        return up ? order : -order;
      });
      body.append(...rows);
    });
  });

  const form = document.createElement("form");
  form.className = "losses-filter";
  form.innerHTML = '<input type="search" placeholder="Filter" aria-label="Filter the losses">';
  for (const name of ["input", "disjoint", "nested"]) {
    const place = names.indexOf(name);
    const choices = [...new Set(rows.map((row) => textAt(row, place)))].filter(Boolean).sort();
    const label = document.createElement("label"), select = document.createElement("select");
    select.name = name;
    select.append(new Option("all", ""), ...choices.map((choice) => new Option(choice, choice)));
    label.append(`${name} `, select);
    form.append(label);
  }
  const count = document.createElement("output");
  form.append(count);
  const filter = () => {
    const words = form.querySelector("input").value.toLowerCase().split(/\s+/);
    const wanted = [...form.querySelectorAll("select")].filter((select) => select.value);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(
        words.every((word) => text.includes(word)) &&
        wanted.every((select) => textAt(row, names.indexOf(select.name)) === select.value)
      );
    }
    count.value = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  table.closest(".losses").prepend(form);
  filter();
});
