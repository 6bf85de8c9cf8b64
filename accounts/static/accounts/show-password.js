// Adds a button that shows the password. Without JavaScript, there is no button.
for (const field of document.querySelectorAll("input[type=password]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "show-password";
  button.textContent = "Show password";
  const show = (shown) => {
    field.type = shown ? "text" : "password";
    button.setAttribute("aria-pressed", shown);
  };
  show(false);
  button.addEventListener("click", () => show(field.type === "password"));
  // Browsers offer to save, and keep for the way back, what is in a field of another type.
  field.form.addEventListener("submit", () => show(false));
  field.after(button);
}
