// The provider's pages: plain forms, each posted to the address of its page.

const escape = (text) => String(text ?? '').replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

export function page(title, content, language = 'en') {
  return `<!DOCTYPE html>
<html lang="${escape(language)}">
<head><meta charset="utf-8"><link rel="icon" href="data:,"><title>${escape(title)}</title></head>
<body><main><h1>${escape(title)}</h1>${content}</main></body>
</html>`;
}

export function signInPage({ login_hint: hint, ui_locales: languages }) {
  const form = `<form method="post">
    <p><label>Username <input name="username" value="${escape(hint)}" autocomplete="username"></label></p>
    <p><label>Password <input name="password" type="password"></label></p>
    <input type="submit" name="allow" value="Sign in"> <input type="submit" value="Cancel">
  </form>`;
  return page('Sign in at the provider', form, languages?.split(' ')[0]);
}

export function consentPage() {
  return page(
    'May the site know who you are?',
    '<form method="post"><input type="submit" name="allow" value="Authorize"> <input type="submit" value="Cancel"></form>',
  );
}

export function signOutPage(form) {
  const button = '<input type="submit" name="logout" value="Sign out">';
  return page('Sign out at the provider?', form.replace('</form>', `${button}</form>`));
}
