// Starts Swagger UI; a file of its own because the page's policy allows no inline script.
// Its URL leads to the document, below any prefix.
const documentUrl = new URL("../schema/openapi.json", document.currentScript.src).href;
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

window.ui = SwaggerUIBundle({
  url: documentUrl,
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: false,
  validatorUrl: null,
});
